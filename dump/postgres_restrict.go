package dump

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
)

// Since 2025, pg_dump begins a script with a command that forbids psql all commands of its own until a key is named, so
// that no text in the script can run programs. The key is random unless one is given; a fixed one keeps equal dumps
// equal.

// restrictArgs fixes the key, where the program knows of it.
func restrictArgs(ctx context.Context, program string, db *pgDatabase) []string {
	if !offers(ctx, program, "--help", "--restrict-key") {
		return nil
	}
	return []string{"--restrict-key=" + restrictKey(db)}
}

// restrictKey is always the same for a database on this machine, and cannot be guessed by those who only fill the
// database: it is made with the machine's ID.
func restrictKey(db *pgDatabase) string {
	machine, _ := os.ReadFile("/etc/machine-id")
	mac := hmac.New(sha256.New, machine)
	mac.Write([]byte("caddy-backup restrict key\x00" + db.place + "\x00" + db.name))
	return hex.EncodeToString(mac.Sum(nil)[:20])
}
