package repo

// overhead is what sealing adds: 16 bytes of IV before the ciphertext and 16 bytes of MAC behind it.
const overhead = 32

// masterKey is the key of everything in a repository (restic-format: authenticated encryption): AES-256-CTR with
// Poly1305-AES over the ciphertext. Safe for use by many goroutines at once.
type masterKey struct {
}

// seal appends IV || ciphertext || MAC of plaintext to dst; it writes in place when dst has len(plaintext)+overhead
// bytes of spare capacity. plaintext must not overlap that capacity.
func (k *masterKey) seal(dst, plaintext []byte) []byte { panic("to come") }

// open verifies the MAC in constant time and then appends the plaintext to dst. A wrong MAC is ErrDamaged.
// sealed is not changed; dst's spare capacity must not overlap it.
func (k *masterKey) open(dst, sealed []byte) ([]byte, error) { panic("to come") }
