package caddybackup

import (
	"path/filepath"
	"regexp"
	"strings"
)

// PrivatePaths lists folders and files of this machine that no handler may serve: repositories, and what opens them.
func (a *App) PrivatePaths() []string {
	paths := []string{a.config.DataDir}
	for _, r := range a.config.Repositories {
		if at := r.Storage.Location(); filepath.IsAbs(at) {
			paths = append(paths, at)
		}
	}
	for _, r := range a.Repositories {
		if r != nil {
			paths = append(paths, filesIn(r.Password)...)
		}
	}
	return paths
}

// placeOf says where a text that may be a placeholder comes from.
func placeOf(s string) string {
	m := wholePlaceholder.FindStringSubmatch(s)
	switch {
	case m == nil:
		return "the configuration"
	case m[1] == "env":
		return "the environment variable " + m[2]
	}
	return "the file " + strings.Join(filesIn(s), " ")
}

var wholePlaceholder = regexp.MustCompile(`^\{(env|file)\.([^}]+)\}$`)

var filePlaceholder = regexp.MustCompile(`\{file\.([^}]+)\}`)

// filesIn names the files that a text takes its content from.
func filesIn(s string) (paths []string) {
	for _, m := range filePlaceholder.FindAllStringSubmatch(s, -1) {
		if p, err := filepath.Abs(m[1]); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}
