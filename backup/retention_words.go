package backup

import (
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Words are the lines of the retention's block, as a Caddyfile has them: "daily 14", "limit size 50 GiB".
func (p *Retention) Words() (words []string) {
	number := func(word string, n int) {
		switch {
		case n == Unlimited:
			words = append(words, word+" unlimited")
		case n != 0:
			words = append(words, word+" "+strconv.Itoa(n))
		}
	}
	period := func(word string, of Period) {
		if of != (Period{}) {
			words = append(words, word+" "+of.String())
		}
	}
	for i, n := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
		number(ruleNames[i], n)
	}
	period("within", p.Within)
	for i, of := range []Period{p.WithinHourly, p.WithinDaily, p.WithinWeekly, p.WithinMonthly, p.WithinYearly} {
		period("within_"+ruleNames[i+1], of)
	}
	for _, tags := range p.Tags {
		words = append(words, "tag "+strings.Join(tags, " "))
	}
	number("limit count", p.LimitCount)
	if p.LimitSize > 0 {
		words = append(words, "limit size "+humanize.IBytes(uint64(p.LimitSize)))
	}
	period("limit age", p.LimitAge)
	if p.Manual {
		words = append(words, "auto off")
	}
	return words
}
