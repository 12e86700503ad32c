package caddybackup

import (
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// unmarshalRetention reads which snapshots of a job stay:
//
//	retention {
//		last|hourly|daily|weekly|monthly|yearly <count>|unlimited
//		within|within_hourly|within_daily|within_weekly|within_monthly|within_yearly <period>
//		tag <tags...>
//		limit count <count>
//		limit size <size>
//		limit age <period>
//		auto on|off
//	}
//
// A period is written like 1y6m, 14d or 36h. tag is repeatable; a snapshot with all tags of one line stays.
func (j *Job) unmarshalRetention(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	r := new(backup.Retention)
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if seen[word] && word != "tag" && word != "limit" {
			return d.Errf("%s already specified", word)
		}
		seen[word] = true
		if err := unmarshalRetentionWord(d, r); err != nil {
			return err
		}
	}
	j.Retention = r
	return wrap(d, r.Check())
}

func unmarshalRetentionWord(d *caddyfile.Dispenser, r *backup.Retention) error {
	word := d.Val()
	counts := map[string]*int{
		"last": &r.Last, "hourly": &r.Hourly, "daily": &r.Daily, "weekly": &r.Weekly, "monthly": &r.Monthly, "yearly": &r.Yearly,
	}
	periods := map[string]*backup.Period{
		"within": &r.Within, "within_hourly": &r.WithinHourly, "within_daily": &r.WithinDaily,
		"within_weekly": &r.WithinWeekly, "within_monthly": &r.WithinMonthly, "within_yearly": &r.WithinYearly,
	}
	switch {
	case counts[word] != nil:
		return unmarshalCount(d, word, counts[word], true)
	case periods[word] != nil:
		return unmarshalPeriod(d, word, periods[word])
	case word == "tag":
		tags := d.RemainingArgs()
		if len(tags) == 0 {
			return d.ArgErr()
		}
		r.Tags = append(r.Tags, tags)
		return nil
	case word == "limit":
		return unmarshalLimit(d, r)
	case word == "auto":
		return unmarshalSwitch(d, &r.Manual)
	}
	return strangeWord(d, inRetention)
}

func unmarshalLimit(d *caddyfile.Dispenser, r *backup.Retention) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	switch kind := d.Val(); kind {
	case "count":
		return unmarshalCount(d, "limit count", &r.LimitCount, false)
	case "size":
		return unmarshalLimitSize(d, &r.LimitSize)
	case "age":
		return unmarshalPeriod(d, "limit age", &r.LimitAge)
	default:
		return d.Errf("bad limit '%s': must be count, size or age", kind)
	}
}

// unmarshalCount reads a count above 0, which may be given once only.
func unmarshalCount(d *caddyfile.Dispenser, word string, count *int, unlimited bool) error {
	var text string
	if err := unmarshalNew(d, word, *count != 0, &text); err != nil {
		return err
	}
	if text == "unlimited" && unlimited {
		*count = backup.Unlimited
		return nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case (err != nil || n < 1) && unlimited:
		return d.Errf("bad %s value '%s': must be a number above 0, or unlimited", word, text)
	case err != nil || n < 1:
		return d.Errf("bad %s value '%s': must be a number above 0", word, text)
	}
	*count = n
	return nil
}

func unmarshalPeriod(d *caddyfile.Dispenser, word string, period *backup.Period) error {
	var text string
	if err := unmarshalNew(d, word, *period != backup.Period{}, &text); err != nil {
		return err
	}
	var err error
	if *period, err = backup.ParsePeriod(text); err != nil {
		return d.Errf("bad %s value '%s': %v", word, text, err)
	}
	return nil
}

func unmarshalLimitSize(d *caddyfile.Dispenser, size *int64) error {
	var text string
	if err := unmarshalNew(d, "limit size", *size != 0, &text); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return d.Errf("bad limit size value '%s': must be a size above 0, such as 50GiB", text)
	}
	*size = int64(n)
	return nil
}

// unmarshalSwitch reads on or off.
func unmarshalSwitch(d *caddyfile.Dispenser, off *bool) error {
	word := d.Val()
	var text string
	if err := setting.OneArg(d, &text); err != nil {
		return err
	}
	if text != "on" && text != "off" {
		return d.Errf("bad %s value '%s': must be on or off", word, text)
	}
	*off = text == "off"
	return nil
}

// unmarshalShrinkLimit reads by how much a part may shrink before a backup is suspect.
func (j *Job) unmarshalShrinkLimit(d *caddyfile.Dispenser) error {
	if err := setting.OneArg(d, &j.ShrinkLimit); err != nil {
		return err
	}
	return wrap(d, backup.CheckShrinkLimit(j.ShrinkLimit))
}

// unmarshalNew reads the one argument of a word that was not there before.
func unmarshalNew(d *caddyfile.Dispenser, word string, before bool, value *string) error {
	if before {
		return d.Errf("%s already specified", word)
	}
	if !d.AllArgs(value) {
		return d.ArgErr()
	}
	return nil
}
