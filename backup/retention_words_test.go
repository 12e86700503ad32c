package backup

import (
	"slices"
	"testing"
)

func TestRetentionWords(t *testing.T) {
	p := Retention{
		Last: 7, Daily: Unlimited, Yearly: 2, Within: Period{Days: 3}, WithinHourly: Period{Hours: 36}, WithinYearly: Period{Years: 1, Months: 6},
		Tags: [][]string{{"release", "big"}, {"x"}}, LimitCount: 100, LimitSize: 50 << 30, LimitAge: Period{Days: 400}, Manual: true,
	}
	want := []string{"last 7", "daily unlimited", "yearly 2", "within 3d", "within_hourly 36h", "within_yearly 1y6m", "tag release big", "tag x",
		"limit count 100", "limit size 50 GiB", "limit age 400d", "auto off"}
	if got := p.Words(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
