// Package near finds what a person may have meant by a misspelt word.
package near

// Word is the one of words that is nearest to a misspelt one; "" when none is near enough to be meant: one letter wrong, missing,
// too many or in its neighbour's place, two in words of six letters and more.
func Word(word string, words []string) (meant string) {
	w := []rune(word)
	limit := 1
	if len(w) >= 6 {
		limit = 2
	}
	if len(w) < 2 || len(w) > 200 {
		return ""
	}
	for _, other := range words {
		if other == word {
			continue
		}
		if d := distance(w, []rune(other)); d <= limit {
			meant, limit = other, d-1
		}
	}
	return meant
}

// distance is how many letters have to be changed, left out, put in, or swapped with their neighbours (Damerau and Levenshtein,
// where nothing is changed twice).
func distance(a, b []rune) int {
	if len(b) > len(a)+2 || len(a) > len(b)+2 {
		return 3 // at least
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
