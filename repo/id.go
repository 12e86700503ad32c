package repo

import (
	"encoding/hex"
	"fmt"

	"github.com/minio/sha256-simd"
)

// ID is a SHA-256: of a blob's plaintext, or of a stored file's bytes (restic-format: names and IDs).
type ID [32]byte

// Hash returns the SHA-256 of data. It is the one place that chooses the implementation of one-shot hashing.
func Hash(data []byte) ID { return sha256.Sum256(data) }

// ParseID parses 64 lower-case hex digits. Upper case is refused: restic could not open such a file again.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 64 {
		return id, fmt.Errorf("not an ID: %q", s)
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return id, fmt.Errorf("not an ID: %q", s)
		}
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err
}

// String returns 64 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 hex digits, as restic shows IDs to people.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether the ID is unset.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText writes the 64 hex digits.
func (id ID) MarshalText() ([]byte, error) { return appendID(make([]byte, 0, 64), id), nil }

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(b []byte) error {
	p, err := ParseID(string(b))
	if err == nil {
		*id = p
	}
	return err
}

// appendID appends the 64 hex digits.
func appendID(dst []byte, id ID) []byte { return hex.AppendEncode(dst, id[:]) }
