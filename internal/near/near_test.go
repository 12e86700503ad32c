package near

import "testing"

func TestWord(t *testing.T) {
	words := []string{"shop", "blog", "schedule", "retention", "ops", "café"}
	for word, want := range map[string]string{
		"shp": "shop", "shopp": "shop", "sohp": "shop", "Shop": "shop", "schedul": "schedule", "shcedlue": "schedule", "retetnion": "retention",
		"cafe": "café", "op": "ops",
		"shop": "", "": "", "x": "", "wiki": "", "sh": "", "schema": "", "shopping": "",
	} {
		if got := Word(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func FuzzWord(f *testing.F) {
	f.Add("shop", "sohp")
	f.Fuzz(func(t *testing.T, a, b string) {
		Word(a, []string{b})
		if x, y := distance([]rune(a), []rune(b)), distance([]rune(b), []rune(a)); x != y {
			t.Errorf("%d one way, %d the other", x, y)
		}
	})
}
