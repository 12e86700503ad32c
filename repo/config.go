package repo

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
)

const (
	configName = "config"

	// maxConfig bounds the config file, in bytes: a few hundred are usual.
	maxConfig = 64 << 10
)

// Config is the repository's configuration file (restic-format: config).
type Config struct {
	Version           uint   `json:"version"`
	ID                string `json:"id"`                 // 64 hex digits, random
	ChunkerPolynomial string `json:"chunker_polynomial"` // hex; irreducible over GF(2), degree 53; secret
}

// newConfig is the configuration of a new repository. restic keys its caches by the ID, so it must be fresh.
func newConfig() Config {
	var id ID
	rand.Read(id[:])
	return Config{
		Version:           2,
		ID:                id.String(),
		ChunkerPolynomial: strconv.FormatUint(uint64(randomPolynomial()), 16),
	}
}

// sealConfig gives the bytes of the config file: sealed JSON, in both versions neither compressed nor framed.
func sealConfig(c Config, k *masterKey) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	sealed := k.seal(nil, text)
	back, err := openConfig(sealed, k)
	if err == nil && back != c {
		err = fmt.Errorf("%w: sealing changed the configuration", ErrDamaged)
	}
	return sealed, err
}

// openConfig undoes sealConfig.
func openConfig(sealed []byte, k *masterKey) (Config, error) {
	text, err := k.open(nil, sealed)
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	return parseConfig(text)
}

// parseConfig reads the config's JSON. A version that we do not know is ErrUnsupported, all else ErrDamaged.
func parseConfig(text []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, fmt.Errorf("config: %w: %w", ErrDamaged, err)
	}
	if c.Version != 1 && c.Version != 2 {
		return Config{}, fmt.Errorf("%w repository version %d: this program knows 1 and 2", ErrUnsupported, c.Version)
	}
	if c.ID == "" {
		return Config{}, fmt.Errorf("config: %w: it has no repository ID", ErrDamaged)
	}
	p, err := strconv.ParseUint(c.ChunkerPolynomial, 16, 64)
	if err != nil || !polynomial(p).irreducible() {
		return Config{}, fmt.Errorf("config: %w: its chunker polynomial is not irreducible", ErrDamaged)
	}
	return c, nil
}
