package dump

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// Whatever stands in the environment for other programs of PostgreSQL's, the dump is the same.
func testPostgresEnvironment(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	p.Format = formatPlain
	want, facts := pgDump(t, p, backup.Part{})
	for name, value := range map[string]string{
		"PGHOST": "/nowhere", "PGHOSTADDR": "127.0.0.9", "PGPORT": "1", "PGDATABASE": "big", "PGUSER": "nobody", "PGPASSWORD": "wrong",
		"PGOPTIONS": "-c role=pg_monitor -c search_path=nowhere", "PGCLIENTENCODING": "UTF8", "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "SQL",
		"PGAPPNAME": "other", "PGTARGETSESSIONATTRS": "standby", "PGCONNECT_TIMEOUT": "1", "PGLOADBALANCEHOSTS": "random",
	} {
		t.Setenv(name, value)
	}
	got, again := pgDump(t, p, backup.Part{})
	if !bytes.Equal(got, want) || again.Source != facts.Source {
		t.Errorf("another dump, of %s", again.Source)
	}
	db, err := newPgDatabase("password=x")
	if err != nil {
		t.Fatal(err)
	}
	if db.name != userName() || db.conf.User != userName() || db.conf.Port != 5432 || db.conf.RuntimeParams["options"] != "" || strings.Contains(db.place, "nowhere") {
		t.Errorf("%s at %s as %s, %v", db.name, db.place, db.conf.User, db.conf.RuntimeParams)
	}
}

// localhostCertificate is one for localhost that vouches for itself, with its key.
func localhostCertificate(t *testing.T) (certificate, secret *pem.Block) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "PRIVATE KEY", Bytes: private}
}

// certify has the server show a certificate for localhost, and gives the file of who vouches for it.
func certify(t *testing.T, pg *realtest.Postgres) (root string) {
	t.Helper()
	certificate, secret := localhostCertificate(t)
	info, err := os.Stat(filepath.Join(pg.Dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"server.crt": certificate, "server.key": secret} {
		file := filepath.Join(pg.Dir, "data", name)
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		if err := os.Chown(file, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	pg.SQL(t, "postgres", "ALTER SYSTEM SET ssl = on")
	pg.SQL(t, "postgres", "SELECT pg_reload_conf()")
	eventually(t, pg, "postgres", "SHOW ssl", "on")
	root = filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(root, pem.EncodeToMemory(certificate), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// Every way in which a connection string can be written leads to the same database, and no further than it should.
func testPostgresReach(t *testing.T, pg *realtest.Postgres) {
	root := certify(t, pg)
	port := strconv.Itoa(pg.Port)
	passfile := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(passfile, []byte("*:"+port+":*:postgres:"+pg.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pg.SQL(t, "postgres", `CREATE ROLE "u@s:r" LOGIN SUPERUSER PASSWORD 'p@ss:w''\%'`)
	tls := " dbname='the shop' user=postgres password=" + pg.Password + " port=" + port + " sslmode=verify-full sslrootcert=" + root
	for _, c := range []struct{ dsn, want string }{
		{"host=127.0.0.1 port=" + port + " user=postgres dbname='the shop' passfile=" + passfile, ""},
		{"postgres://postgres@127.0.0.1:" + port + "/the%20shop?passfile=" + url.PathEscape(passfile), ""},
		{"postgres://u%40s%3Ar:p@ss:w'\\%25@127.0.0.1:" + port + "/the%20shop", ""},
		{"postgres:///the%20shop?host=" + url.QueryEscape(pg.Dir) + "&port=" + port + "&user=postgres", ""},
		{"postgres://postgres:" + pg.Password + "@127.0.0.1:1,127.0.0.1:" + port + "/the%20shop?target_session_attrs=read-write", ""},
		{"host=127.0.0.1,127.0.0.1 port=1," + port + " user=postgres dbname='the shop' password=" + pg.Password, ""},
		{"host=127.0.0.1 options='-c statement_timeout=5min' port=" + port + " user=postgres dbname='the shop' password=" + pg.Password, ""},
		{"host=localhost" + tls, ""},
		{"host=127.0.0.1" + tls, "127.0.0.1"}, // for which the certificate is not
		{"host=localhost" + strings.Replace(tls, root, passfile, 1), "sslrootcert"},
		{"host=::1 port=1 user=postgres dbname=x password=canary", "cannot reach PostgreSQL at [::1]:1"},
		{"postgres://u:canary@[::1]:1/x", "cannot reach PostgreSQL at [::1]:1"},
		{"host=127.0.0.1 dbname=x password=canary sslmode=canary-too", "sslmode"},
	} {
		p := &Postgres{DSN: c.dsn}
		err := provision(p)
		if err == nil {
			var facts backup.Facts
			facts, err = p.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil && facts.Rows["public.product"] != 5000 {
				t.Errorf("%s: %+v", c.dsn, facts)
			}
		}
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(said(err), c.want) || strings.Contains(said(err), "=canary ") || strings.Contains(said(err), pg.Password)) {
			t.Errorf("%s: %s", c.dsn, said(err))
		}
	}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil { // a way to the server over IPv6
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					server, err := net.Dial("tcp", "127.0.0.1:"+port)
					if err != nil {
						return
					}
					defer server.Close()
					go io.Copy(server, conn)
					io.Copy(conn, server)
				}()
			}
		}()
		pgDump(t, pgSource(t, fmt.Sprintf("postgres://postgres:%s@%s/the%%20shop", pg.Password, l.Addr())), backup.Part{})
	}
}
