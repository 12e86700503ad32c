// Package caddybackup registers the Caddy app "backup".
package caddybackup

import (
	_ "github.com/caddyserver/caddy/v2"
	_ "github.com/dustin/go-humanize"
	_ "github.com/jackc/pgx/v5/pgconn"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/minio/sha256-simd"
	_ "github.com/pkg/sftp"
	_ "github.com/schollz/progressbar/v3"
	_ "go.uber.org/zap"
	_ "golang.org/x/crypto/scrypt"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "modernc.org/sqlite"
)
