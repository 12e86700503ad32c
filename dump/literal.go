package dump

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A job that is given on a command line is read by every user of the machine. LiteralSecret names the setting of a source that
// holds a secret as it is and not as a placeholder; "" when none does, as far as that can be told. It is asked of settings as
// they were written, before Provision.

var (
	placeholder   = regexp.MustCompile(`\{[^{}]+\}`)
	secretName    = regexp.MustCompile(`(?i)pass|pwd|secret|token|key|credential`)
	passwordInURL = regexp.MustCompile(`://[^/@\s]*:[^/@\s]+@`)
	passwordGiven = regexp.MustCompile(`(?i)(?:^|[\s_-]|pg)(?:pass|passwd|password|pwd|secret|token)=["']?[^\s{$"']`)
)

// LiteralSecret looks for a password in the DSN.
func (p *Postgres) LiteralSecret() string {
	words, err := parseDSN(strings.TrimSpace(placeholder.ReplaceAllString(p.DSN, "")))
	return secretIf(err == nil && words["password"] != "" || urlWithPassword(p.DSN), "dsn")
}

// LiteralSecret looks for a password in the DSN.
func (m *MySQL) LiteralSecret() string { return secretIf(urlWithPassword(m.DSN), "dsn") }

// LiteralSecret looks at the environment, and for what is a password in arguments.
func (v *Invocation) LiteralSecret() string {
	for _, arg := range v.Command {
		if passwordGiven.MatchString(arg) || passwordInURL.MatchString(arg) {
			return "command"
		}
	}
	return literalEnv(v.Env)
}

// LiteralSecret looks at the environment.
func (d *Django) LiteralSecret() string { return literalEnv(d.Env) }

// LiteralSecret is empty: there is no place for one.
func (s *SQLite) LiteralSecret() string { return "" }

// LiteralSecret is empty: there is no place for one.
func (f *Files) LiteralSecret() string { return "" }

// LiteralSecret is empty: there is no place for one.
func (c *Caddy) LiteralSecret() string { return "" }

func literalEnv(env map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if value := placeholder.ReplaceAllString(env[name], ""); value != "" && secretName.MatchString(name) || urlWithPassword(value) {
			return "env " + name
		}
	}
	return ""
}

func urlWithPassword(text string) bool {
	return passwordInURL.MatchString(placeholder.ReplaceAllString(text, ""))
}

func secretIf(is bool, name string) string {
	if is {
		return name
	}
	return ""
}
