package dump

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// libpqWords are the parameters of a connection string: those that our own connection understands too, and those that
// only the programs do.
var (
	sharedWords = []string{
		"application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "host", "krbsrvname",
		"options", "passfile", "password", "port", "require_auth", "service", "sslcert", "sslcertmode", "sslkey",
		"sslmode", "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "user",
	}
	programWords = []string{
		"fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count",
		"keepalives_idle", "keepalives_interval", "load_balance_hosts", "requirepeer", "ssl_max_protocol_version",
		"ssl_min_protocol_version", "sslcompression", "sslcrl", "sslcrldir", "tcp_user_timeout",
	}
)

// parseDSN reads a connection string in either of libpq's forms into its parameters. Errors never quote from it: it
// holds a password.
func parseDSN(text string) (map[string]string, error) {
	var words map[string]string
	var err error
	if scheme, _, isURL := strings.Cut(text, "://"); isURL && !strings.ContainsAny(scheme, "= ") {
		words, err = parsePostgresURL(scheme, text)
	} else {
		words, err = parseKeywords(text)
	}
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	for word := range words {
		if err := checkWord(word); err != nil {
			return nil, fmt.Errorf("dsn: %w", err)
		}
	}
	return words, nil
}

// checkWord refuses what the programs would not understand.
func checkWord(word string) error {
	if word == "sslpassword" {
		return errors.New("sslpassword is not supported yet: use a key without a passphrase that only we can read")
	}
	if !slices.Contains(sharedWords, word) && !slices.Contains(programWords, word) {
		return fmt.Errorf("PostgreSQL's programs do not know the parameter '%s'; leave it out", word)
	}
	return nil
}

func parsePostgresURL(scheme, text string) (map[string]string, error) {
	if scheme != "postgres" && scheme != "postgresql" {
		return nil, fmt.Errorf("unknown scheme '%s': write postgres://user:password@host:5432/database", scheme)
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || strings.Contains(u.Host, "@") {
		return nil, errors.New("not a URL; write postgres://user:password@host:5432/database, with special characters in " +
			"the password percent-encoded (@ as %40, # as %23, / as %2F), and several hosts as: host=a,b dbname=…")
	}
	words := map[string]string{}
	set := func(word, value string) {
		if value != "" {
			words[word] = value
		}
	}
	password, _ := u.User.Password()
	set("user", u.User.Username())
	set("password", password)
	set("host", u.Hostname())
	set("port", u.Port())
	set("dbname", strings.TrimPrefix(u.Path, "/"))
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("what follows the ? in the URL cannot be read: percent-encode special characters")
	}
	for word, values := range query {
		set(word, values[len(values)-1])
	}
	if words["ssl"] == "true" { // what JDBC writes, and libpq takes
		delete(words, "ssl")
		words["sslmode"] = "require"
	}
	return words, nil
}

const space = " \t\n\r\v\f"

// parseKeywords reads key=value pairs: values may be in single quotes; a backslash takes the meaning from a quote, a
// space, or itself.
func parseKeywords(text string) (map[string]string, error) {
	words := map[string]string{}
	for text = strings.TrimLeft(text, space); text != ""; text = strings.TrimLeft(text, space) {
		word, rest, ok := strings.Cut(text, "=")
		word = strings.Trim(word, space)
		if !ok || word == "" || strings.ContainsAny(word, space) {
			return nil, errors.New("neither a URL nor pairs of key=value")
		}
		value, rest, err := keywordValue(strings.TrimLeft(rest, space))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		words[word], text = value, rest
	}
	return words, nil
}

func keywordValue(text string) (value, rest string, err error) {
	var b strings.Builder
	quoted := strings.HasPrefix(text, "'")
	text = strings.TrimPrefix(text, "'")
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case quoted && c == '\'':
			return b.String(), text[i+1:], nil
		case !quoted && strings.IndexByte(space, c) >= 0:
			return b.String(), text[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("the closing quote is missing")
	}
	return b.String(), "", nil
}

// joinKeywords is the inverse of parseKeywords, in the order of the keys.
func joinKeywords(words map[string]string) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var pairs []string
	for word, value := range words {
		pairs = append(pairs, word+"='"+escape.Replace(value)+"'")
	}
	slices.Sort(pairs)
	return strings.Join(pairs, " ")
}
