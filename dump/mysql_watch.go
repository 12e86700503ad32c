package dump

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	lockLook      = time.Second      // how often it is looked whether the dump waits for a lock
	pulseLook     = 10 * time.Second // how often a server is asked whether it is there
	serverSilence = 2 * time.Minute  // for which it may leave us without an answer
)

// pulse asks a server again and again over a connection that is for nothing else meanwhile: one on whose way nobody forwards
// anything any more looks like one of which the statement takes long. The context that it returns ends when ask has it fail, or
// when there is no answer for long. stop waits for the end of it and leaves the connection to others.
func (m *MySQL) pulse(ctx context.Context, conn *myConn, every time.Duration, ask func(_ context.Context, _ *myConn, fail func(error))) (_ context.Context, stop func()) {
	silence := m.silence
	if silence == 0 {
		silence = serverSilence
	}
	watched, fail := context.WithCancelCause(ctx)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(min(every, silence))
		defer ticker.Stop()
		for {
			select {
			case <-over:
				return
			case <-watched.Done():
				return
			case <-ticker.C:
			}
			bounded, cancel := context.WithTimeout(ctx, silence) // not ended by stop: that would break the connection
			ask(bounded, conn, fail)
			if errors.Is(bounded.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
				fail(fmt.Errorf("the server has not answered for %s: see whether it hangs, and whether the network between here and there lets everything through", silence))
			}
			cancel()
		}
	}()
	return watched, func() { close(over); <-done; fail(nil) }
}

// alive is what is asked over a connection that holds a lock.
func alive(ctx context.Context, conn *myConn, fail func(error)) {
	_, err := conn.ExecContext(ctx, "DO 1")
	var answer *mysql.MySQLError
	if err != nil && ctx.Err() == nil && !errors.As(err, &answer) {
		fail(fmt.Errorf("the connection broke that has to last for as long as the restore does: %w; see the log of the server", err))
	}
}

// watchLocks is a pulse that ends a dump that waits too long for a table that somebody else has locked: the programs cannot be told
// how long to wait, and the server's default is a day.
func (m *MySQL) watchLocks(ctx context.Context, conn *myConn) (_ context.Context, stop func()) {
	return m.pulse(ctx, conn, min(lockLook, m.lockTimeout()), func(ctx context.Context, conn *myConn, fail func(error)) {
		id, statement, err := conn.waiting(ctx, m.lockTimeout())
		if err != nil || id == "" {
			return // the dump itself will tell what is the matter with the server
		}
		fail(fmt.Errorf("somebody else has locked a table, and the dump has waited for longer than lock_timeout (%s), at: %s", m.lockTimeout(), statement))
		// The server would let it wait on.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_, _ = conn.ExecContext(bounded, "KILL "+id)
	})
}

// waiting finds a statement of a dump program of our user that waits for a lock. id is the connection's.
func (c *myConn) waiting(ctx context.Context, patience time.Duration) (id, statement string, err error) {
	rows, err := c.QueryContext(ctx, `SELECT id, left(info, 100) FROM information_schema.processlist
		WHERE user = substring_index(user(), '@', 1) AND id > connection_id() AND state LIKE 'Waiting for table%' AND time >= ?
		AND (info LIKE 'show %' OR info LIKE 'SELECT /*%' OR info LIKE 'LOCK TABLES %')`, int(patience.Seconds()))
	if err != nil {
		return "", "", err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&id, &statement); err != nil {
			return "", "", err
		}
	}
	return id, statement, rows.Err()
}

// waitForLocks says how long statements of the connection wait for tables that somebody else has locked.
func (c *myConn) waitForLocks(ctx context.Context, patience time.Duration) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf("SET lock_wait_timeout = %d", max(1, int(patience.Seconds()))))
	return err
}
