package dump

import (
	"errors"
	"fmt"
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
	if scheme, _, isURL := strings.Cut(text, "://"); isURL && !strings.ContainsAny(scheme, "='"+space) {
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
	if slices.Contains(sharedWords, word) || slices.Contains(programWords, word) {
		return nil
	}
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" { // a piece of a password, most likely
		return errors.New("there is a parameter that PostgreSQL's programs do not know; percent-encode special characters in a URL, " +
			"and put a value with spaces in single quotes")
	}
	return fmt.Errorf("PostgreSQL's programs do not know the parameter '%s'; leave it out", word)
}

const space = " \t\n\r\v\f"

// parseKeywords reads key=value pairs: values may be in single quotes; a backslash takes the meaning from a quote, a
// space, or itself.
func parseKeywords(text string) (map[string]string, error) {
	words := map[string]string{}
	last := ""
	for text = strings.TrimLeft(text, space); text != ""; text = strings.TrimLeft(text, space) {
		word, rest, ok := strings.Cut(text, "=")
		word = strings.Trim(word, space)
		known := slices.Contains(sharedWords, word) || slices.Contains(programWords, word)
		if last == "password" && !known {
			return nil, errors.New("what stands behind the password is no parameter: put a password with spaces in single quotes, " +
				`with \' for a quote and \\ for a backslash in it`)
		}
		if !ok || word == "" || strings.ContainsAny(word, space) {
			return nil, errors.New("neither a URL nor pairs of key=value")
		}
		value, rest, err := keywordValue(strings.TrimLeft(rest, space))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		words[word], text, last = value, rest, word
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
