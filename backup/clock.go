package backup

import "time"

// UseClock has the Service go by another clock than the machine's: for what it plans, for the times that it writes down, and
// for how long it waits until it looks again. It must be called before the first Attach. It is for tests in which whole
// processes live through hours within seconds.
func (s *Service) UseClock(now func() time.Time, newTimer func(time.Duration) *time.Timer) {
	s.now, s.newTimer = now, newTimer
}
