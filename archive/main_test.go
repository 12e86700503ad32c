package archive_test

import (
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func TestMain(m *testing.M) { realtest.Main(m) }
