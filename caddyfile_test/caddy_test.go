package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptServed: `served <socket> <file>` writes the certificates that a Caddy serves for localhost at a Unix socket, once
// it does.
func scriptServed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: served <socket> <file>")
	}
	deadline := time.Now().Add(patience)
	for {
		certs, err := served(ts.MkAbs(args[0]))
		if err == nil {
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), certs, 0o600))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func served(socket string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}) // we only want to see them
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, cert := range conn.ConnectionState().PeerCertificates {
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
