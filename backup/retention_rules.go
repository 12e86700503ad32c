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
	within Period    // before the newest snapshot; zero: whenever
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

// rules lists what chooses by time.
func (p *Retention) rules() []rule {
	var all []rule
	for i, count := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
		if count != 0 {
			all = append(all, rule{name: ruleNames[i], reason: ruleNames[i] + " snapshot", left: count, bucket: -1})
		}
	}
	for i, period := range []Period{p.WithinHourly, p.WithinDaily, p.WithinWeekly, p.WithinMonthly, p.WithinYearly} {
		if name := ruleNames[i+1]; period != (Period{}) {
			all = append(all, rule{name: name, reason: name + " within " + period.String(), left: Unlimited, within: period, bucket: -1})
		}
	}
	return all
}

// walk is the walk of restic's forget, as of 0.19, over the snapshots of one group, newest first, and our limits behind it.
type walk struct {
	policy   *Retention
	ruled    bool // it has a rule
	now      time.Time
	zone     *time.Location // whose daylight saving counts for periods
	position int            // of the next snapshot
	latest   time.Time      // the newest one before now: where periods are counted from. Zero until it came: all before it lies within them
	rules    []rule

	count int    // of what the limits look at
	size  int64  // bytes
	over  string // the limit that it is beyond
}

func (p *Retention) walk(now time.Time, zone *time.Location) *walk {
	return &walk{policy: p, ruled: p.hasRule(), now: now, zone: zone, rules: p.rules()}
}

// peek is the fate of a snapshot if it came next: the step is not taken.
func (w *walk) peek(s repo.Snapshot, oldest bool) fate {
	tried := *w
	tried.rules = slices.Clone(w.rules)
	return tried.next(s, oldest)
}

// reasons are why the rules keep the next snapshot, in restic's words; none when no rule does. oldest says that none comes
// behind it.
func (w *walk) reasons(s repo.Snapshot, oldest bool) (all []string) {
	if w.latest.IsZero() && s.Time.Before(w.now) {
		w.begin(calendarOf(s.Time, w.zone))
	}
	for _, tags := range w.policy.Tags {
		if hasTags(s, tags) {
			all = append(all, "has tags ["+strings.Join(tags, ", ")+"]")
		}
	}
	if within := w.policy.Within; within != (Period{}) && (w.latest.IsZero() || s.Time.After(within.before(w.latest))) {
		all = append(all, "within "+within.String())
	}
	for i := range w.rules {
		if reason := w.rules[i].keep(w.position, s.Time, oldest); reason != "" {
			all = append(all, reason)
		}
	}
	w.position++
	return all
}

// begin has periods count from the newest snapshot.
func (w *walk) begin(latest time.Time) {
	w.latest = latest
	for i := range w.rules {
		if within := w.rules[i].within; within != (Period{}) {
			w.rules[i].since = within.before(latest)
		}
	}
}

// hasTags reports whether a snapshot has all of these tags; the one tag "" means that it has none.
func hasTags(s repo.Snapshot, tags []string) bool {
	if len(tags) == 1 && tags[0] == "" {
		return len(s.Tags) == 0
	}
	return !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(s.Tags, tag) })
}
