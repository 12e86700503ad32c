package backup

import (
	"fmt"
	"strings"
)

// parted are the targets that are there, and those that are not: nothing of these is replaced, they are made.
func parted(targets []liveTarget) (there, absent []liveTarget) {
	for _, t := range targets {
		if t.absent {
			absent = append(absent, t)
		} else {
			there = append(there, t)
		}
	}
	return there, absent
}

// named is how targets begin a sentence: "shop is", "shop and /srv/media are".
func named(targets []liveTarget) string {
	return strings.Join(lives(targets), " and ") + verb(targets, " is", " are")
}

// verb is the word that fits the number of targets.
func verb(targets []liveTarget, one, several string) string {
	if len(targets) == 1 {
		return one
	}
	return several
}

// foreseen says what a restore would do.
func (x *replacement) foreseen() string {
	there, absent := parted(x.targets)
	var said []string
	if len(there) > 0 {
		said = append(said, fmt.Sprintf("%s would be replaced by %s", strings.Join(lives(there), " and "), x.what))
	}
	if len(absent) > 0 {
		said = append(said, fmt.Sprintf("%s not there now: %s would be made from %s, nothing is replaced, and no safety snapshot is needed",
			named(absent), verb(absent, "it", "they"), x.what))
	}
	return strings.Join(said, "; ")
}

// done says what a restore did.
func (x *replacement) done() string {
	there, absent := parted(x.targets)
	var said []string
	if len(there) > 0 {
		said = append(said, strings.Join(lives(there), " and ")+verb(there, " was", " were")+" replaced by "+x.what)
	}
	if len(absent) > 0 {
		said = append(said, fmt.Sprintf("%s not there, and %s made from %s", strings.Join(lives(absent), " and ")+verb(absent, " was", " were"),
			verb(absent, "was", "were"), x.what))
	}
	return strings.Join(said, "; ")
}
