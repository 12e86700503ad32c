package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Retention says which snapshots of a job stay. Its rules choose first, those of restic's forget; without any rule all
// are chosen. Then the limits remove the oldest until they hold. What neither touches: pinned snapshots, which no
// limit counts either, the newest good one, those dated in the future. A suspect one never takes the place of a good one, nor
// an imported one, which holds a single part, that of one that the job made.
type Retention struct {
	// Counts of the newest snapshots that stay, one for each hour, day and so on that has any; 0 is no such rule.
	Last    int `json:"last,omitempty"`
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	Yearly  int `json:"yearly,omitempty"`

	// Before the newest snapshot: all within the period stay, or one for each hour, day and so on in it.
	Within        Period `json:"within,omitzero"`
	WithinHourly  Period `json:"within_hourly,omitzero"`
	WithinDaily   Period `json:"within_daily,omitzero"`
	WithinWeekly  Period `json:"within_weekly,omitzero"`
	WithinMonthly Period `json:"within_monthly,omitzero"`
	WithinYearly  Period `json:"within_yearly,omitzero"`

	// Snapshots with all tags of one of these lists stay.
	Tags [][]string `json:"tags,omitempty"`

	// What stays at most; 0 is no limit. The size is that of the files, as restored.
	LimitCount int    `json:"limit_count,omitempty"`
	LimitSize  int64  `json:"limit_size,omitempty"` // bytes
	LimitAge   Period `json:"limit_age,omitzero"`

	// Applied only when somebody asks for it, never by itself after a backup.
	Manual bool `json:"manual,omitempty"`
}

// Check refuses what makes no sense, and what says nothing: ErrInvalid.
func (p *Retention) Check() error {
	for i, n := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
		if n < Unlimited {
			return fmt.Errorf("%w: retention %s %d: the count must be more than 0, or unlimited", ErrInvalid, ruleNames[i], n)
		}
	}
	if p.LimitCount < 0 || p.LimitSize < 0 {
		return fmt.Errorf("%w: a limit of retention must be more than 0", ErrInvalid)
	}
	for _, tags := range p.Tags {
		if len(tags) == 0 {
			return fmt.Errorf("%w: retention tag names no tag", ErrInvalid)
		}
	}
	if !p.hasRule() && p.LimitCount == 0 && p.LimitSize == 0 && p.LimitAge == (Period{}) {
		return fmt.Errorf("%w: retention says nothing: add a rule such as daily 14, or leave it out to keep everything", ErrInvalid)
	}
	return nil
}

func (p *Retention) hasRule() bool {
	return len(p.Tags) > 0 || p.Within != (Period{}) || len(p.rules()) > 0
}

// fate is what becomes of a snapshot, and why.
type fate struct {
	keep    bool
	reasons []string
}

// decide says what becomes of each snapshot of one job and host, newest first. A suspect one stays as long as it would if it
// alone were good: so it takes no good one's place, and goes when good ones as new as it go. So does the safety snapshot of a
// restore, but not within a week. Imported ones are counted with those that the job made, these without.
func (p *Retention) decide(group []repo.Snapshot, now time.Time, zone *time.Location) []fate {
	fates, doubt := make([]fate, len(group)), inDoubt(group)
	good, made := p.walk(now, zone), p.walk(now, zone) // made: those that are not imported
	lastGood, lastMade := -1, -1                       // the oldest of them
	for i, s := range group {
		if !s.Time.After(now) && !doubt(s) {
			lastGood = i
			if !imported(s) {
				lastMade = i
			}
		}
	}
	for i, s := range group {
		switch {
		case s.Time.After(now):
			fates[i] = fate{true, []string{"dated in the future"}}
		case safety(s) && now.Sub(s.Time) < safetyKept:
			fates[i] = fate{true, []string{"made before a restore, less than a week ago"}}
		case doubt(s):
			fates[i] = good.peek(s, i > lastGood)
		default:
			fates[i] = good.peek(s, i == lastGood)
			good.next(s, false) // for what is judged as if it came behind it
			if !imported(s) {
				fates[i] = made.next(s, i == lastMade)
			}
		}
	}
	return fates
}

// next is the fate of the next snapshot of the walk; oldest says that none comes behind it. The rules choose, and then the
// limits remove; never the newest one.
func (w *walk) next(s repo.Snapshot, oldest bool) fate {
	newest := w.position == 0
	reasons := w.reasons(s, oldest)
	if !w.ruled {
		reasons = []string{"within the limits"}
	}
	if pinned(s) {
		return fate{true, append([]string{"pinned"}, reasons...)}
	}
	if len(reasons) == 0 && newest {
		reasons = []string{"the newest one"}
	}
	if len(reasons) == 0 {
		return fate{false, []string{"no rule keeps it"}}
	}
	w.count, w.size = w.count+1, w.size+sizeOf(s)
	if w.over == "" {
		w.over = w.policy.exceeded(w.count, w.size, s.Time, w.now)
	}
	if w.over != "" && !newest {
		return fate{false, []string{w.over}}
	}
	return fate{true, reasons}
}

// exceeded names the limit that so many snapshots, of so many bytes, the oldest of this time, are beyond; "" for none.
func (p *Retention) exceeded(count int, size int64, oldest, now time.Time) string {
	switch {
	case p.LimitCount > 0 && count > p.LimitCount:
		return fmt.Sprintf("beyond limit count %d", p.LimitCount)
	case p.LimitSize > 0 && size > p.LimitSize:
		return "beyond limit size " + humanize.IBytes(uint64(p.LimitSize))
	case p.LimitAge != (Period{}) && !oldest.After(p.LimitAge.before(now)):
		return "beyond limit age " + p.LimitAge.String()
	}
	return ""
}

// safetyKept is how long the safety snapshot of a restore stays in any case: until people have found out what they miss.
const safetyKept = 7 * oneDay

func safety(s repo.Snapshot) bool { return slices.Contains(s.Tags, tagSafety) }

func imported(s repo.Snapshot) bool { return slices.Contains(s.Tags, tagImport) }

func pinned(s repo.Snapshot) bool { return slices.Contains(s.Tags, tagKeep) }

// sizeOf is the size of all files in a snapshot, in bytes; 0 when it does not say.
func sizeOf(s repo.Snapshot) int64 {
	if s.Summary == nil {
		return 0
	}
	return int64(s.Summary.TotalBytesProcessed)
}
