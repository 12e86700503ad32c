package caddybackup

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// blocks wraps a line into each block of the global option.
var blocks = map[home]string{
	inBackup:     "backup {\n%s\n}",
	inRepository: "backup {\nrepository {\n%s\n}\n}",
	inJob:        "backup {\njob shop {\n%s\n}\n}",
	inRetention:  "backup {\njob shop {\nretention {\n%s\n}\n}\n}",
}

// TestEveryWordEverywhere puts each word of the grammar into each block: where it belongs it is read or refused as not
// supported yet, elsewhere the error says where it belongs.
func TestEveryWordEverywhere(t *testing.T) {
	served := strings.Fields("shrink_limit timezone host cluster repository job storage password compression pack_size source to timeout enabled retention schedule jitter overdue_after stall_timeout remind check prune notifier notify public_url mail_to download_format drill before after " +
		"last hourly daily weekly monthly yearly within within_hourly within_daily within_weekly within_monthly within_yearly tag limit auto")
	for word, places := range homes {
		for here, block := range blocks {
			t.Run(fmt.Sprintf("%s in %s", word, here), func(t *testing.T) {
				d := caddyfile.NewTestDispenser(fmt.Sprintf(block, word))
				err := new(App).UnmarshalCaddyfile(d)
				text := fmt.Sprint(err)
				switch {
				case !slices.Contains(places, here):
					if !strings.Contains(text, fmt.Sprintf("'%s' belongs in ", word)) || !strings.Contains(text, string(places[0])) {
						t.Errorf("got %v, want where the word belongs", err)
					}
				case !slices.Contains(served, word) || word == "retention" && here == inRepository:
					if !strings.Contains(text, fmt.Sprintf("'%s' is not supported yet", word)) {
						t.Errorf("got %v, want that it is not supported yet", err)
					}
				default:
					if strings.Contains(text, "belongs") || strings.Contains(text, "supported") || strings.Contains(text, "unrecognized") {
						t.Errorf("got %v for a word that is served here", err)
					}
				}
			})
		}
	}
}
