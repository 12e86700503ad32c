package dump

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// myServer is a server that we were told of.
type myServer struct {
	mySettings
	config *mysql.Config // for our own connections
}

func newMyServer(dsn string) (*myServer, error) {
	settings, err := parseMyDSN(dsn)
	if err != nil {
		return nil, err
	}
	s := &myServer{settings, mysql.NewConfig()}
	s.config.User, s.config.Passwd = s.user, s.password
	s.config.Net, s.config.Addr = "tcp", net.JoinHostPort(s.host, s.port)
	if s.socket != "" {
		s.config.Net, s.config.Addr = "unix", s.socket
	}
	s.config.Timeout, s.config.Logger = connectTimeout, &mysql.NopLogger{}
	s.config.MaxAllowedPacket = 0                                 // as the server says
	s.config.Params = map[string]string{"wait_timeout": "604800"} // seconds: a connection may wait while a dump is restored
	s.config.ConnectionAttributes = "program_name:caddy-backup"
	return s, s.secure()
}

// secure sets up TLS as the programs will have it.
func (s *myServer) secure() error {
	if s.sslMode == "disabled" || s.socket != "" {
		return nil
	}
	conf := &tls.Config{ServerName: s.host, InsecureSkipVerify: s.sslMode != "verify_identity"}
	s.config.TLS, s.config.AllowFallbackToPlaintext = conf, s.sslMode == ""
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return fmt.Errorf("dsn: ssl_ca: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("dsn: ssl_ca: there is no certificate in %s", s.ca)
		}
	}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return fmt.Errorf("dsn: ssl_cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// myConn is one connection, for which session variables hold.
type myConn struct {
	*sql.Conn
	pool *sql.DB
}

func (c *myConn) Close() error {
	return errors.Join(c.Conn.Close(), c.pool.Close())
}

// connect opens a connection, to a database or to none.
func (s *myServer) connect(ctx context.Context, database string) (*myConn, error) {
	config := s.config.Clone()
	config.DBName = database
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	limit, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pool.Conn(limit)
	if err == nil {
		return &myConn{conn, pool}, nil
	}
	pool.Close()
	if cause := overdue(ctx); cause != nil {
		return nil, cause
	}
	return nil, s.connectError(database, err)
}

// use turns to a database; "" is none.
func (c *myConn) use(ctx context.Context, s *myServer, database string) error {
	if database == "" {
		return nil
	}
	if _, err := c.ExecContext(ctx, "USE "+quoteMyName(database)); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return s.connectError(database, err)
	}
	return nil
}

// session is connect, with the server's version.
func (s *myServer) session(ctx context.Context, database string) (*myConn, myVersion, error) {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return nil, myVersion{}, err
	}
	server, err := conn.version(ctx)
	if err != nil {
		conn.Close()
		return nil, myVersion{}, err
	}
	return conn, server, nil
}

// connectError says what to do about a connection that was refused.
func (s *myServer) connectError(database string, err error) error {
	what := "cannot connect to MariaDB or MySQL on " + s.place()
	way := ""
	var refused *mysql.MySQLError
	switch {
	case errors.As(err, &refused) && refused.Number == 1049:
		return fmt.Errorf("there is no database %s on %s, or user %s may not see it: %w; correct the dsn, or, if it was lost, restore it as a new one (--into %s)",
			database, s.place(), s.user, err, database)
	case errors.As(err, &refused) && (refused.Number == 1045 || refused.Number == 1698):
		way = fmt.Sprintf("; correct user or password in the dsn, or let user %s in from here", s.user)
	case errors.As(err, &refused) && refused.Number == 1044:
		way = fmt.Sprintf("; grant user %s rights on the database", s.user)
	case errors.Is(err, context.DeadlineExceeded):
		way = fmt.Sprintf(" within %s; see whether host and port are right, and a firewall in between", connectTimeout)
	default:
		way = "; see whether it is running there"
	}
	return fmt.Errorf("%s as user %s: %w%s", what, s.user, err, way)
}

// value is the first column of the only row, as text; "" for none.
func (c *myConn) value(ctx context.Context, query string, args ...any) (string, error) {
	var v sql.NullString
	err := c.QueryRowContext(ctx, query, args...).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return v.String, err
}

// list is the first column of all rows.
func (c *myConn) list(ctx context.Context, query string, args ...any) (values []string, err error) {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, rows.Err()
}

// myVersion is a version of MariaDB or MySQL.
type myVersion struct {
	mariadb bool
	numbers [3]int
	text    string // "10.11.19"
}

func (v myVersion) name() string {
	if v.mariadb {
		return "MariaDB"
	}
	return "MySQL"
}

func (v myVersion) String() string { return v.name() + " " + v.text }

// parseMyVersion reads "10.11.19-MariaDB-0+deb12u1" and "8.0.36".
func parseMyVersion(text string) (v myVersion, err error) {
	v.mariadb = strings.Contains(strings.ToLower(text), "mariadb")
	text = strings.TrimPrefix(text, "5.5.5-") // what old servers of MariaDB say first
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &v.numbers[0], &v.numbers[1], &v.numbers[2]); err != nil {
		return v, fmt.Errorf("%.40q is no version of MariaDB or MySQL", text)
	}
	v.text = fmt.Sprintf("%d.%d.%d", v.numbers[0], v.numbers[1], v.numbers[2])
	return v, nil
}

// version asks for the server's.
func (c *myConn) version(ctx context.Context) (myVersion, error) {
	text, err := c.value(ctx, "SELECT VERSION()")
	if err != nil {
		return myVersion{}, err
	}
	return parseMyVersion(text)
}

// program is one of the clients, with its settings in a file that has no name. Nothing else is read: those of MySQL would read a
// .mylogin.cnf whatever they are told, and believe it more, but for the variable.
func (s *myServer) program(tool myTool, args ...string) (p program, settings *os.File, err error) {
	if settings, err = secretFile(s.optionFile(!tool.version.mariadb)); err != nil {
		return program{}, nil, err
	}
	return program{path: tool.path, args: append([]string{"--defaults-file=/dev/fd/3"}, args...), env: environ("MYSQL_TEST_LOGIN_FILE=/dev/null"), files: []*os.File{settings}}, settings, nil
}

// secretFile gives a file that only we can read and that has no name any more when it is returned: nothing is left of it even
// when we are killed. Programs read it as /dev/fd/3 when it is their first extra file.
func secretFile(text string) (*os.File, error) {
	f, err := os.CreateTemp("", "caddy-backup-") // 0600
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
