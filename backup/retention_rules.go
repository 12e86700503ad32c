package backup

import (
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Unlimited is the count of a rule that keeps all there are: "daily unlimited".
const Unlimited = -1

// ruleNames are the rules that keep the newest snapshot of each stretch of time, in the order in which they are asked.
var ruleNames = [...]string{"last", "hourly", "daily", "weekly", "monthly", "yearly"}

// bucketOf says in which stretch of a rule the snapshot at a position of its group lies, by the clock of the place where it
// was made.
func bucketOf(rule string, position int, t time.Time) int {
	year, month, day := t.Date()
	switch rule {
	case "hourly":
		return ((year*100+int(month))*100+day)*100 + t.Hour()
	case "daily":
		return (year*100+int(month))*100 + day
	case "weekly":
		year, week := t.ISOWeek()
		return year*100 + week
	case "monthly":
		return year*100 + int(month)
	case "yearly":
		return year
	}
	return position
}

// rule is one of ruleNames at work, walking from the newest snapshot to the oldest.
type rule struct {
	name   string
	reason string
	left   int       // how many it may still keep, or Unlimited
	since  time.Time // it keeps only what is newer
	bucket int       // of the last one that it kept
}

// keep returns why the rule keeps the snapshot, or "". The oldest of all is kept while the count lasts, so that a new
// repository keeps its beginning until the rule has something older.
func (r *rule) keep(position int, t time.Time, oldest bool) string {
	if r.left == 0 || !t.After(r.since) {
		return ""
	}
	bucket, reason := bucketOf(r.name, position, t), r.reason
	switch {
	case bucket != r.bucket:
	case oldest:
		reason = "oldest " + reason
	default:
		return ""
	}
	r.bucket = bucket
	if r.left > 0 {
		r.left--
	}
	return reason
}

// rules lists what chooses by time. latest is where the periods are counted from; zero when everything lies within them.
func (p *Retention) rules(latest time.Time) []*rule {
	since := func(period Period) time.Time {
		if latest.IsZero() {
			return time.Time{}
		}
		return period.before(latest)
	}
	var all []*rule
	for i, count := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
		if count != 0 {
			all = append(all, &rule{name: ruleNames[i], reason: ruleNames[i] + " snapshot", left: count, bucket: -1})
		}
	}
	for i, period := range []Period{p.WithinHourly, p.WithinDaily, p.WithinWeekly, p.WithinMonthly, p.WithinYearly} {
		if name := ruleNames[i+1]; period != (Period{}) {
			all = append(all, &rule{
				name: name, reason: name + " within " + period.String(), left: Unlimited, since: since(period), bucket: -1,
			})
		}
	}
	return all
}

// choose is the walk of restic's forget, as of 0.19, over snapshots of one group, newest first: for each the reasons to keep
// it, in restic's words; none when no rule does. zone is the one whose daylight saving counts for periods.
func (p *Retention) choose(group []repo.Snapshot, now time.Time, zone *time.Location) [][]string {
	var latest time.Time
	if i := slices.IndexFunc(group, func(s repo.Snapshot) bool { return s.Time.Before(now) }); i >= 0 {
		latest = calendarOf(group[i].Time, zone)
	}
	rules := p.rules(latest)
	all := make([][]string, len(group))
	for i, s := range group {
		for _, tags := range p.Tags {
			if hasTags(s, tags) {
				all[i] = append(all[i], "has tags ["+strings.Join(tags, ", ")+"]")
			}
		}
		if p.Within != (Period{}) && (latest.IsZero() || s.Time.After(p.Within.before(latest))) {
			all[i] = append(all[i], "within "+p.Within.String())
		}
		for _, r := range rules {
			if reason := r.keep(i, s.Time, i == len(group)-1); reason != "" {
				all[i] = append(all[i], reason)
			}
		}
	}
	return all
}

// hasTags reports whether a snapshot has all of these tags; the one tag "" means that it has none.
func hasTags(s repo.Snapshot, tags []string) bool {
	if len(tags) == 1 && tags[0] == "" {
		return len(s.Tags) == 0
	}
	return !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(s.Tags, tag) })
}
