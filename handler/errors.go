package handler

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// The errors that arise here, before the Service is asked.
var (
	ErrForbidden = errors.New("forbidden")             // the caller's role is too small
	ErrReadOnly  = errors.New("read-only")             // this mount changes nothing
	ErrCrossSite = errors.New("cross-site request")    // another site made the browser ask
	errMethod    = errors.New("method not allowed")    // of a route that exists
	errMedia     = errors.New("wrong content type")    // a body that is not JSON
	errTooLarge  = errors.New("request is too large")  // a body beyond maxBody
	errRange     = errors.New("range not satisfiable") // of a download
)

// fault ties a code of the API to its HTTP status and to the sentinels that it stands for.
type fault struct {
	code   string
	status int
	is     []error
}

// faults is the one table between errors, codes and statuses: the API reads it from right to left, the Client from
// left to right. The first row that fits an error counts.
var faults = []fault{
	{"forbidden", http.StatusForbidden, []error{ErrForbidden}},
	{"read_only", http.StatusForbidden, []error{ErrReadOnly}},
	{"cross_site", http.StatusForbidden, []error{ErrCrossSite}},
	{"method_not_allowed", http.StatusMethodNotAllowed, []error{errMethod}},
	{"unsupported_media_type", http.StatusUnsupportedMediaType, []error{errMedia}},
	{"too_large", http.StatusRequestEntityTooLarge, []error{errTooLarge}},
	{"range_not_satisfiable", http.StatusRequestedRangeNotSatisfiable, []error{errRange}},
	{"closed", http.StatusServiceUnavailable, []error{backup.ErrClosed}},
	{"busy", http.StatusServiceUnavailable, []error{errBusy}},
	{"locked", http.StatusLocked, []error{repo.ErrLocked}},
	{"lock_lost", http.StatusServiceUnavailable, []error{repo.ErrLockLost}},
	{"wrong_password", http.StatusServiceUnavailable, []error{repo.ErrWrongPassword}},
	{"no_repository", http.StatusServiceUnavailable, []error{repo.ErrNoRepository}},
	{"damaged", http.StatusServiceUnavailable, []error{repo.ErrDamaged}},
	{"unsupported", http.StatusServiceUnavailable, []error{repo.ErrUnsupported}},
	{"exists", http.StatusConflict, []error{repo.ErrExists}},
	{"conflict", http.StatusConflict, []error{backup.ErrConflict, repo.ErrKeyNeeded, repo.ErrTooManyKeys}},
	{"refused", http.StatusConflict, []error{backup.ErrRefused}},
	{"ambiguous", http.StatusBadRequest, []error{repo.ErrAmbiguous}},
	{"is_folder", http.StatusBadRequest, []error{repo.ErrIsFolder}},
	{"not_folder", http.StatusBadRequest, []error{repo.ErrNotFolder}},
	{"invalid", http.StatusBadRequest, []error{backup.ErrInvalid, archive.ErrFormat}},
	{"not_found", http.StatusNotFound, []error{backup.ErrNotFound, repo.ErrNotFound}},
	{"timeout", http.StatusGatewayTimeout, []error{context.DeadlineExceeded}},
}

// internal is what fits no row.
var internal = fault{code: "internal", status: http.StatusInternalServerError}

// faultOf finds the row of an error.
func faultOf(err error) fault {
	for _, f := range faults {
		if slices.ContainsFunc(f.is, func(s error) bool { return errors.Is(err, s) }) {
			return f
		}
	}
	return internal
}

// Error is an error answer of the API. errors.Is finds the sentinel of package backup or repo that it stands for.
type Error struct {
	Status  int         `json:"-"`
	Message string      `json:"error"`
	Code    string      `json:"code"`          // not_found invalid conflict closed no_repository exists … as in faults; empty: not our API
	Run     *backup.Run `json:"run,omitempty"` // of a conflict: the run that is in the way
}

func (e *Error) Error() string { return e.Message }

// Is reports whether target is a sentinel that the code stands for.
func (e *Error) Is(target error) bool {
	for _, f := range faults {
		if f.code == e.Code {
			return slices.Contains(f.is, target)
		}
	}
	return false
}

// errorOf turns any error into the answer that tells it.
func errorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	f := faultOf(err)
	return &Error{Status: f.status, Message: err.Error(), Code: f.code}
}
