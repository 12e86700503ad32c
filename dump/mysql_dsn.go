package dump

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// mySettings are what a DSN says: secret.
type mySettings struct {
	user, password string
	host, port     string // empty: over the socket
	socket         string
	database       string // may be empty
	sslMode        string // "", "disabled", "required", "verify_identity"
	ca, cert, key  string // paths
}

// mySockets are where packages put the server's socket.
var mySockets = []string{"/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"}

var mySSLModes = []string{"disabled", "required", "verify_identity"}

// parseMyDSN reads mysql://user:password@host:3306/database?socket=…&ssl_mode=…&ssl_ca=…&ssl_cert=…&ssl_key=…. Errors never
// quote from it: it holds a password.
func parseMyDSN(text string) (s mySettings, err error) {
	if driverForm.MatchString(text) {
		return parseDriverDSN(text)
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || strings.Contains(u.Host, "@") {
		return s, errors.New("dsn: not a URL; write mysql://user:password@host:3306/database, with special characters in " +
			"the password percent-encoded (@ as %40, # as %23, / as %2F)")
	}
	if u.Scheme != "mysql" && u.Scheme != "mariadb" {
		return s, errors.New("dsn: write mysql://user:password@host:3306/database")
	}
	s.user, s.host, s.port = u.User.Username(), u.Hostname(), u.Port()
	s.password, _ = u.User.Password()
	s.database = strings.TrimPrefix(u.Path, "/")
	if s.user == "" { // said before anything is quoted: a ? in a password would make it look like parameters
		return s, errNoUser
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return s, errors.New("dsn: what follows the ? cannot be read: percent-encode special characters")
	}
	if err := s.words(query); err != nil {
		return s, err
	}
	return s, s.check()
}

var (
	errNoUser = errors.New("dsn: it does not say which user: mysql://user:password@host:3306/database, with special characters in the password percent-encoded")
	plainWord = regexp.MustCompile(`^[a-zA-Z_-]+$`) // one that is no part of a password

	// driverForm is the way in which programs written in Go name a database: user:password@tcp(host:3306)/database.
	driverForm = regexp.MustCompile(`(?s)^[^:/@]*(?::.*)?@(?:tcp|unix)?\([^()]*\)/[^/]*$`)
)

// parseDriverDSN reads that form. In it nothing is percent-encoded but parameters.
func parseDriverDSN(text string) (s mySettings, err error) {
	c, err := mysql.ParseDSN(text)
	if err != nil { // it may quote
		return s, errors.New("dsn: it cannot be read; write mysql://user:password@host:3306/database, or user:password@tcp(host:3306)/database")
	}
	s = mySettings{user: c.User, password: c.Passwd, database: c.DBName}
	if c.Net == "unix" {
		s.socket = c.Addr
	} else if s.host, s.port, err = net.SplitHostPort(c.Addr); err != nil {
		return s, errors.New("dsn: what stands in the parentheses is not host:port")
	}
	switch c.TLSConfig {
	case "", "false", "preferred":
	case "true":
		s.sslMode = "verify_identity"
	case "skip-verify":
		s.sslMode = "required"
	default:
		return s, errors.New("dsn: the tls of a program's own cannot be had here; write mysql://…?ssl_ca=/path")
	}
	return s, s.check()
}

func (s *mySettings) words(query url.Values) error {
	for word, values := range query {
		value := values[len(values)-1]
		switch strings.ReplaceAll(word, "-", "_") {
		case "socket", "unix_socket":
			s.socket = value
		case "ssl_mode":
			s.sslMode = strings.ToLower(value)
		case "ssl_ca":
			s.ca = value
		case "ssl_cert":
			s.cert = value
		case "ssl_key":
			s.key = value
		case "charset", "conn_max_age": // of the application that the address is copied from
		default:
			if !plainWord.MatchString(word) {
				word = "…"
			}
			return fmt.Errorf("dsn: unknown parameter '%s'; there are socket, ssl_mode, ssl_ca, ssl_cert and ssl_key", word)
		}
	}
	return nil
}

func (s *mySettings) check() error {
	if s.user == "" {
		return errNoUser
	}
	if s.ca != "" && s.sslMode == "" {
		s.sslMode = "verify_identity"
	}
	if s.sslMode != "" && !slices.Contains(mySSLModes, s.sslMode) {
		return fmt.Errorf("dsn: bad ssl_mode value '%s': must be one of %s", s.sslMode, strings.Join(mySSLModes, ", "))
	}
	if (s.cert == "") != (s.key == "") {
		return errors.New("dsn: ssl_cert and ssl_key belong together")
	}
	for _, value := range []string{s.user, s.password, s.host, s.socket, s.ca, s.cert, s.key, s.database} {
		if strings.ContainsAny(value, "\n\r\x00") {
			return errors.New("dsn: a line break in a value, which no option file can hold")
		}
	}
	local := s.host == "" || s.host == "localhost" && s.port == "" // "localhost" is the socket, as everywhere with MySQL
	if local {
		s.host, s.port = "", ""
	}
	switch {
	case s.socket != "" && !local:
		return errors.New("dsn: either a host or a socket")
	case local && s.socket == "":
		s.socket = mySockets[0]
		if i := slices.IndexFunc(mySockets, isThere); i >= 0 {
			s.socket = mySockets[i]
		}
	case !local && s.port == "":
		s.port = "3306"
	}
	return nil
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// place is the server, for messages.
func (s *mySettings) place() string {
	if s.socket != "" {
		return s.socket
	}
	return net.JoinHostPort(s.host, s.port)
}

// optionFile is what the programs are told by a file that only they can read. Values in double quotes take everything,
// with backslashes before backslashes and quotes.
func (s *mySettings) optionFile(mysql bool) string {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	set := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=\"%s\"\n", name, escape.Replace(value))
		}
	}
	b.WriteString("[client]\n")
	set("user", s.user)
	fmt.Fprintf(&b, "password=\"%s\"\n", escape.Replace(s.password)) // also an empty one, or it is asked for
	set("host", s.host)
	set("port", s.port)
	set("socket", s.socket)
	if s.socket != "" {
		set("protocol", "socket")
	} else {
		set("protocol", "tcp")
	}
	set("ssl-ca", s.ca)
	set("ssl-cert", s.cert)
	set("ssl-key", s.key)
	switch {
	case mysql && s.sslMode != "":
		set("ssl-mode", strings.ToUpper(s.sslMode))
	case s.sslMode == "disabled":
		b.WriteString("skip-ssl\n")
	case s.sslMode == "required":
		b.WriteString("ssl\nskip-ssl-verify-server-cert\n")
	case s.sslMode == "verify_identity":
		b.WriteString("ssl\nssl-verify-server-cert\n")
	}
	return b.String()
}
