package repo

import "context"

// CheckOptions choose how deep a check goes.
type CheckOptions struct {
	ReadData bool                // also read every pack and verify every byte
	Progress func(CheckProgress) // called now and then, from one goroutine at a time
}

// CheckProgress counts what a check did. Sizes in bytes.
type CheckProgress struct {
	PacksDone, PacksTotal int
	BytesRead, BytesTotal int64
}

// Problem is one finding. An error means that something is lost or would be refused; a note harms nothing (an orphan
// pack after a crash).
type Problem struct {
	File  string `json:"file,omitempty"` // the file of the repository, or the path in a snapshot
	Error bool   `json:"error"`
	Text  string `json:"text"`
}

// CheckReport is what a check found.
type CheckReport struct {
	Snapshots int       `json:"snapshots"`
	Packs     int       `json:"packs"`
	Blobs     int       `json:"blobs"`
	Bytes     int64     `json:"bytes"`      // size of all indexed packs
	BytesRead int64     `json:"bytes_read"` // verified to the last byte
	Problems  []Problem `json:"problems"`
}

// Errors counts the problems that are errors.
func (r *CheckReport) Errors() int {
	n := 0
	for _, p := range r.Problems {
		if p.Error {
			n++
		}
	}
	return n
}

// Check verifies the structure of the whole repository (and, with ReadData, every byte of every pack). It never stops
// at the first problem. The error is about a check that could not be done; what it found is in the report. It takes no
// lock; call it under a shared one.
func (r *Repository) Check(ctx context.Context, o CheckOptions) (*CheckReport, error) {
	panic("to come")
}
