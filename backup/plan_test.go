package backup

import (
	"testing"
	"time"
)

// TestDelay holds jitter to its bounds, to being the same each time, and to being different from slot to slot and host to host.
func TestDelay(t *testing.T) {
	p := plan{kind: KindBackup, name: "shop", schedule: mustSchedule(t, "daily 03:15"), zone: time.UTC, jitter: 10 * time.Minute, host: "a"}
	other, hourly := p, p
	other.host = "b"
	hourly.schedule, hourly.jitter = mustSchedule(t, "hourly"), 5*time.Hour
	different, same := map[time.Duration]bool{}, 0
	slot := time.Date(2026, 1, 1, 3, 15, 0, 0, time.UTC)
	for range 300 {
		d := p.delay(slot)
		if d < 0 || d >= p.jitter || d != p.delay(slot.In(time.FixedZone("", 3600))) {
			t.Fatalf("the delay of %v is %v, then %v", slot, d, p.delay(slot))
		}
		if d == other.delay(slot) {
			same++
		}
		if d := hourly.delay(slot); d < 0 || d >= time.Hour {
			t.Fatalf("hourly: the delay of %v is %v", slot, d)
		}
		different[d] = true
		slot = p.schedule.Next(slot, time.UTC)
	}
	if len(different) < 200 || same > 10 {
		t.Errorf("%d different delays of 300, %d the same on another host", len(different), same)
	}
	if p.jitter = 0; p.delay(slot) != 0 {
		t.Errorf("without jitter the delay is %v", p.delay(slot))
	}
}

// TestNextAfterAWrongClock: a slot done by a clock that was far ahead does not keep the job from running.
func TestNextAfterAWrongClock(t *testing.T) {
	p := plan{kind: KindBackup, name: "shop", schedule: mustSchedule(t, "daily 03:15"), zone: time.UTC}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	done := func(slot time.Time) []Run {
		return []Run{{Kind: KindBackup, Job: "shop", State: StateOK, Scheduled: slot}}
	}
	for _, test := range []struct {
		done, since, want time.Time
	}{
		{now.AddDate(20, 0, 0), now.AddDate(0, 0, -3), time.Date(2026, 11, 22, 3, 15, 0, 0, time.UTC)},                // far ahead: as if never
		{time.Date(2026, 11, 23, 3, 15, 0, 0, time.UTC), time.Time{}, time.Date(2026, 11, 24, 3, 15, 0, 0, time.UTC)}, // set back a little: done
		{time.Date(2026, 11, 22, 3, 15, 0, 0, time.UTC), now, time.Date(2026, 11, 23, 3, 15, 0, 0, time.UTC)},
	} {
		if slot, at := p.next(done(test.done), test.since, now); !slot.Equal(test.want) || !at.Equal(test.want) {
			t.Errorf("done %v, since %v: next is %v at %v, want %v", test.done, test.since, slot, at, test.want)
		}
	}
}

// TestNoted follows the marks through changes of the configuration.
func TestNoted(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	of := func(text string) []plan {
		return []plan{{kind: KindBackup, name: "shop", schedule: mustSchedule(t, text), zone: time.UTC}}
	}
	begin := func(plan) time.Time { return now }
	daily, hourly := of("daily"), of("hourly")
	first := now
	marks := noted(nil, daily, now, begin)
	step := func(after time.Duration, plans []plan, asked []plan, want time.Time) {
		t.Helper()
		now = now.Add(after)
		marks = noted(marks, plans, now, begin)
		if got := sinceOf(marks, asked[0], now); !got.Equal(want) {
			t.Errorf("at %v: since %v, want %v", now, got, want)
		}
	}
	step(time.Hour, daily, daily, first)
	step(time.Hour, hourly, hourly, first.Add(2*time.Hour))
	step(time.Minute, daily, daily, first) // taken back
	step(time.Hour, nil, hourly, now.Add(time.Hour))
	step(time.Hour, daily, daily, first.Add(4*time.Hour+time.Minute)) // anew
	if len(marks) != 1 {
		t.Errorf("the marks are %v", marks)
	}
	step(-48*time.Hour, daily, daily, now.Add(-48*time.Hour)) // the clock was wrong
}
