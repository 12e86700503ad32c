package dump

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgservicefile"
)

// serviceFolders are where packages of libpq look for the file of the whole machine.
var serviceFolders = []string{"/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc", "/usr/local/etc/postgresql", "/etc"}

// withService replaces the name of a service by what a pg_service.conf says about it. What stands in words already
// comes first, as with libpq. It returns the name and the file of the service, if there is one.
func withService(words map[string]string) (name, file string, err error) {
	name = words["service"]
	if other := os.Getenv("PGSERVICE"); name == "" && other != "" {
		return "", "", fmt.Errorf("dsn: the environment names a service, %s: write service=%s in the dsn if that is meant, or take PGSERVICE away", other, other)
	}
	if name == "" {
		return "", "", nil
	}
	files := serviceFiles()
	for _, file = range files {
		list, err := pgservicefile.ReadServicefile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return "", "", fmt.Errorf("dsn: %s cannot be read by user %s; let that user read it", file, userName())
		}
		if err != nil { // not quoted: passwords stand in these files
			return "", "", fmt.Errorf("dsn: %s cannot be understood: sections in brackets, and lines of key=value", file)
		}
		service, err := list.GetService(name)
		if err != nil {
			continue
		}
		return name, file, serviceWords(words, service, file)
	}
	return "", "", fmt.Errorf("dsn: there is no service %s in %s; add it, or correct the name", name, strings.Join(files, ", "))
}

func serviceWords(words map[string]string, service *pgservicefile.Service, file string) error {
	for word, value := range service.Settings {
		if err := checkWord(word); err != nil {
			return fmt.Errorf("service %s in %s: %w", service.Name, file, err)
		}
		if words[word] == "" && word != "service" {
			words[word] = value
		}
	}
	delete(words, "service")
	return nil
}

// serviceFiles are those in which libpq looks, in its order.
func serviceFiles() []string {
	const name = "pg_service.conf"
	var files []string
	if own := os.Getenv("PGSERVICEFILE"); own != "" {
		files = append(files, own)
	} else if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, "."+name))
	}
	if folder := os.Getenv("PGSYSCONFDIR"); folder != "" {
		return append(files, filepath.Join(folder, name))
	}
	for _, folder := range serviceFolders {
		files = append(files, filepath.Join(folder, name))
	}
	return files
}
