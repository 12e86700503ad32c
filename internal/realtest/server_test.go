package realtest

import (
	"fmt"
	"net"
	"testing"
)

// TestFreePort: nobody listens at the port, and who names it can, again and again.
func TestFreePort(t *testing.T) {
	port := FreePort(t)
	at := fmt.Sprintf("127.0.0.1:%d", port)
	if conn, err := net.Dial("tcp", at); err == nil {
		conn.Close()
		t.Error("somebody listens")
	}
	for range 3 {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
	}
}
