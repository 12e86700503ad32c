package dump

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// maxConfigFile bounds a file of the configuration, in bytes: an import may match anything.
const maxConfigFile = 16 << 20

// configFiles lists the Caddyfile that is being parsed, and what it imports, directly or not. A Caddyfile that came over
// the network has a file name too, but the word that is being parsed does not stand there: then there is none.
func configFiles(file string, line int, word string) []ConfigFile {
	if file == "" {
		return nil
	}
	first, err := caddy.FastAbs(file)
	if err != nil {
		return nil
	}
	var all []ConfigFile
	for queue := []string{first}; len(queue) > 0; queue = queue[1:] {
		path := queue[0]
		if slices.ContainsFunc(all, func(f ConfigFile) bool { return f.Path == path }) {
			continue
		}
		text, _, err := readConfigFile(path)
		if err != nil {
			continue // the parser has said so, or has let it pass
		}
		tokens, _ := caddyfile.Tokenize(text, path) // none of an empty file
		if path == first && !slices.ContainsFunc(tokens, func(t caddyfile.Token) bool { return t.Line == line && t.Text == word }) {
			return nil
		}
		all = append(all, ConfigFile{path, hashed(text)})
		queue = append(queue, imported(path, tokens)...)
	}
	return all
}

func hashed(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// readConfigFile reads a file, and says when it was changed.
func readConfigFile(path string) ([]byte, time.Time, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxConfigFile {
		return nil, time.Time{}, fmt.Errorf("%s is no file of a configuration", path)
	}
	text, err := os.ReadFile(path)
	return text, fi.ModTime(), err
}

var environment = regexp.MustCompile(`\{\$([^}:]+)(?::([^}]*))?\}`)

// imported lists the files that a Caddyfile imports. Names of snippets match no file, or one that does no harm here.
func imported(file string, tokens []caddyfile.Token) (paths []string) {
	for i, t := range tokens[:max(len(tokens)-1, 0)] {
		pattern := tokens[i+1]
		if t.Text != "import" || pattern.Line != t.Line || i > 0 && tokens[i-1].Line == t.Line && tokens[i-1].Text != "{" {
			continue
		}
		text := environment.ReplaceAllStringFunc(pattern.Text, func(s string) string {
			m := environment.FindStringSubmatch(s)
			if value, ok := os.LookupEnv(m[1]); ok {
				return value
			}
			return m[2]
		})
		if !filepath.IsAbs(text) {
			text = filepath.Join(filepath.Dir(file), text)
		}
		matches, _ := filepath.Glob(text) // a bad pattern matches nothing
		paths = append(paths, matches...)
	}
	return paths
}

// configText is a file of the configuration as it is saved.
type configText struct {
	text    []byte
	changed time.Time
}

// configuration is what is to be had of it.
type configuration struct {
	files   map[string]configText // by path, without the slash at its beginning
	json    []byte                // nil when it is not known
	changed time.Time             // of json
	notes   []string
}

// readConfig reads the files that were parsed, as they are now, and the JSON that runs.
func (c *Caddy) readConfig() configuration {
	config := configuration{files: map[string]configText{}}
	as := true // everything is as it was parsed
	for _, f := range c.Caddyfile {
		text, changed, err := readConfigFile(f.Path)
		switch {
		case err != nil:
			as = false
			config.notes = append(config.notes, fmt.Sprintf("%s was parsed and cannot be read now: %v", f.Path, err))
			continue
		case hashed(text) != f.SHA256:
			as = false
			config.notes = append(config.notes, f.Path+" was changed since it was loaded, and is saved as it is now; "+
				"config.json is what runs")
		}
		config.files[strings.TrimPrefix(filepath.ToSlash(f.Path), "/")] = configText{text, changed}
	}
	if text, changed, err := readConfigFile(c.autosave); err == nil && c.isOurs(text) {
		config.json, config.changed = text, changed
	} else if as && len(c.Caddyfile) > 0 {
		config.json, config.changed = c.adapted(config)
	}
	if config.json == nil {
		config.notes = append(config.notes, "the configuration that runs is not saved as JSON: Caddy does not keep it (persist_config off), "+
			"or another Caddy of this user keeps its own in "+c.autosave)
	}
	return config
}

// isOurs tells whether what Caddy keeps of a running configuration has this source in it: another Caddy may have written
// it.
func (c *Caddy) isOurs(text []byte) bool {
	var config struct {
		Apps struct {
			Backup struct {
				Jobs []struct {
					Sources []struct {
						Source struct {
							Engine    string       `json:"engine"`
							Caddyfile []ConfigFile `json:"caddyfile"`
						} `json:"source"`
					} `json:"sources"`
				} `json:"jobs"`
			} `json:"backup"`
		} `json:"apps"`
	}
	if json.Unmarshal(text, &config) != nil {
		return false
	}
	for _, j := range config.Apps.Backup.Jobs {
		for _, s := range j.Sources {
			if s.Source.Engine == "caddy" && slices.Equal(s.Source.Caddyfile, c.Caddyfile) {
				return true
			}
		}
	}
	return false
}

// adapted makes the JSON of the Caddyfile again, which has not changed.
func (c *Caddy) adapted(config configuration) ([]byte, time.Time) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	first := config.files[strings.TrimPrefix(filepath.ToSlash(c.Caddyfile[0].Path), "/")]
	if adapter == nil {
		return nil, time.Time{}
	}
	text, _, err := adapter.Adapt(first.text, map[string]any{"filename": c.Caddyfile[0].Path})
	if err != nil || !c.isOurs(text) {
		return nil, time.Time{} // the file is an imported one, for example
	}
	return text, first.changed
}
