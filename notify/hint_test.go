package notify

import (
	"errors"
	"strings"
	"testing"
)

// TestHintOfPort: the number of a port is no answer of the server.
func TestHintOfPort(t *testing.T) {
	silent := errors.New("read tcp 127.0.0.1:53512->127.0.0.1:25: i/o timeout")
	if way := wayOut(silent, mailHints); !strings.Contains(way, "the server says nothing") {
		t.Error(way)
	}
	refused := errors.New("SMTP AUTH failed: 535 5.7.8 who are you?")
	if way := wayOut(refused, mailHints); !strings.Contains(way, "correct username and password") {
		t.Error(way)
	}
}
