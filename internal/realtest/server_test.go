package realtest

import (
	"fmt"
	"net"
	"testing"
)

// TestFreePort: nobody listens at the port, and who names it can, again and again, over IPv6 too where there is that.
func TestFreePort(t *testing.T) {
	port := FreePort(t)
	tryPort(t, fmt.Sprintf("127.0.0.1:%d", port))
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		tryPort(t, fmt.Sprintf("[::1]:%d", port))
	}
}

func tryPort(t *testing.T, at string) {
	t.Helper()
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
