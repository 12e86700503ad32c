package repo

import "context"

// Lock is a lock in the repository that is being kept fresh. It interoperates with restic's.
type Lock struct {
}

// Context is done when the lock is lost (cause ErrLockLost), when it is unlocked, or when the context of Repository.Lock
// is done: all work under the lock uses it, so that a late refresh stops the work before its next write.
func (l *Lock) Context() context.Context { panic("to come") }

// Unlock stops refreshing and deletes the lock file. It works also when the lock's context is done already; it is
// idempotent.
func (l *Lock) Unlock() error { panic("to come") }

// Locks lists the locks of everybody; unreadable ones are reported as an error beside the others.
func (r *Repository) Locks(ctx context.Context) ([]LockInfo, error) { panic("to come") }

// RemoveLocks deletes lock files by ID, missing ones are no error: for the own locks of a process that is proved dead.
func (r *Repository) RemoveLocks(ctx context.Context, ids []ID) error { panic("to come") }
