package caddybackup

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestBarEnds: what was drawn is gone at the end, and nothing is drawn over what follows.
func TestBarEnds(t *testing.T) {
	for name, total := range map[string]int64{"spinner": 0, "bar": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				b := &bar{s: &session{err: &out}}
				b.update(backup.Run{Kind: backup.KindCheck, Step: "reading", Progress: backup.Progress{Bytes: 10, Total: total}})
				time.Sleep(time.Second)
				b.end()
				synctest.Wait()
				drawn := out.String()
				if !strings.Contains(drawn, "check: reading") || !strings.HasSuffix(drawn, " \r") {
					t.Errorf("drawn is %q", drawn)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if after := out.String()[len(drawn):]; after != "" {
					t.Errorf("behind the end is drawn %q", after)
				}
				b.end()
			})
		})
	}
}
