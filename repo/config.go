package repo

// Config is the repository's configuration file (restic-format: config).
type Config struct {
	Version           uint   `json:"version"`
	ID                string `json:"id"`                 // 64 hex digits, random
	ChunkerPolynomial string `json:"chunker_polynomial"` // hex; irreducible over GF(2), degree 53; secret
}
