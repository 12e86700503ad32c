package dump

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// errURL is for what would be read wrongly if it was read at all. A password may stand where nobody expects it: so
// nothing is quoted.
var errURL = errors.New("not a URL; write postgres://user:password@host:5432/database, with special characters in " +
	"the password percent-encoded (@ as %40, # as %23, / as %2F, ? as %3F, % as %25)")

// parsePostgresURL reads a URL as libpq does, several hosts among it: postgres://user:password@a:5432,b:5433/database.
// An @ in the password may stand as it is, unless a /, ? or # is before it.
func parsePostgresURL(scheme, text string) (map[string]string, error) {
	if scheme != "postgres" && scheme != "postgresql" {
		return nil, errors.New("unknown scheme: write postgres://user:password@host:5432/database")
	}
	rest := text[len(scheme)+len("://"):]
	authority, rest := cutAt(rest, "/?#")
	path, query := cutAt(rest, "?#")
	login, hosts, named := cutLast(authority, "@")
	if !named {
		login, hosts = "", authority
	}
	if strings.Contains(rest, "#") || strings.Contains(path, "@") || !named && strings.Contains(query, "@") {
		return nil, errURL // the rest of a password, most likely
	}
	words := urlWords{}
	user, password, _ := strings.Cut(login, ":")
	words.set("user", user)
	words.set("password", password)
	words.set("dbname", strings.TrimPrefix(path, "/"))
	if err := words.setHosts(hosts); err != nil {
		return nil, err
	}
	for _, pair := range strings.Split(strings.TrimPrefix(query, "?"), "&") {
		word, value, _ := strings.Cut(pair, "=")
		if word == "ssl" && value == "true" { // what JDBC writes, and libpq takes
			word, value = "sslmode", "require"
		}
		words.set(word, value)
	}
	if _, bad := words[""]; bad {
		return nil, errURL
	}
	return words, nil
}

// cutAt cuts before the first of some characters.
func cutAt(s, chars string) (before, after string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// urlWords are the parameters in a URL; what cannot be decoded leaves one without a name.
type urlWords map[string]string

func (w urlWords) set(word, value string) {
	name, err := url.PathUnescape(word)
	text, err2 := url.PathUnescape(value)
	switch {
	case err != nil || err2 != nil || name == "" && text != "":
		w[""] = ""
	case text != "":
		w[name] = text
	}
}

// setHosts takes host:port, [IPv6]:port, and several of them.
func (w urlWords) setHosts(text string) error {
	var hosts, ports []string
	for _, one := range strings.Split(text, ",") {
		host, port, _ := strings.Cut(one, ":")
		if v6, behind, ok := strings.Cut(one, "]"); ok && strings.HasPrefix(one, "[") {
			host, port = v6[1:], strings.TrimPrefix(behind, ":")
			if behind != "" && behind[0] != ':' {
				return errURL
			}
		}
		if strings.Trim(port, "0123456789") != "" {
			return fmt.Errorf("the port of a host is no number: %w", errURL)
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	w.set("host", strings.Trim(strings.Join(hosts, ","), ","))
	if joined := strings.Join(ports, ","); strings.Trim(joined, ",") != "" {
		w.set("port", joined)
	}
	return nil
}
