package caddybackup

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// unmarshalMailTo reads
//
//	mail_to <address...>
func (j *Job) unmarshalMailTo(d *caddyfile.Dispenser) error {
	j.MailTo = d.RemainingArgs()
	if len(j.MailTo) == 0 {
		return d.ArgErr()
	}
	for _, to := range j.MailTo {
		if strings.Contains(to, "{") {
			continue // a placeholder, known later
		}
		if err := backup.CheckMailAddress(to); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// unmarshalDownloadFormat reads
//
//	download_format none|gz|bz2|zst
func (j *Job) unmarshalDownloadFormat(d *caddyfile.Dispenser) error {
	if err := setting.OneArg(d, &j.DownloadFormat); err != nil {
		return err
	}
	return wrap(d, backup.CheckDownloadFormat(j.DownloadFormat))
}
