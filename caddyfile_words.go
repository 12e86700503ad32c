package caddybackup

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/internal/near"
)

// home is where a word of the grammar belongs.
type home string

const (
	inBackup     home = "the global backup block"
	inRepository home = "a repository block"
	inJob        home = "a job block"
	inRetention  home = "the retention block of a job"
	inSite       home = "the backup directive of a site"
)

// homes lists every word of the grammar, the ones to come included, so that a misplaced word gets an answer that
// helps, and a word that is known but not served yet is not taken for a typing error.
var homes = map[string][]home{
	"timezone":   {inBackup, inJob},
	"host":       {inBackup},
	"repository": {inBackup},
	"job":        {inBackup},
	"cluster":    {inBackup},
	"public_url": {inBackup},
	"notifier":   {inBackup},
	"remind":     {inBackup},

	"storage":     {inRepository},
	"password":    {inRepository},
	"compression": {inRepository},
	"pack_size":   {inRepository},
	"check":       {inRepository},
	"prune":       {inRepository},
	"append_only": {inRepository},
	"self_heal":   {inRepository},
	"retention":   {inRepository, inJob},

	"source":          {inJob},
	"to":              {inJob},
	"timeout":         {inJob},
	"enabled":         {inJob},
	"copy_to":         {inJob},
	"schedule":        {inJob},
	"jitter":          {inJob},
	"stall_timeout":   {inJob},
	"overdue_after":   {inJob},
	"shrink_limit":    {inJob},
	"download_format": {inJob},
	"drill":           {inJob},
	"before":          {inJob},
	"after":           {inJob},
	"notify":          {inJob},
	"mail_to":         {inJob},

	"last":           {inRetention},
	"hourly":         {inRetention},
	"daily":          {inRetention},
	"weekly":         {inRetention},
	"monthly":        {inRetention},
	"yearly":         {inRetention},
	"within":         {inRetention},
	"within_hourly":  {inRetention},
	"within_daily":   {inRetention},
	"within_weekly":  {inRetention},
	"within_monthly": {inRetention},
	"within_yearly":  {inRetention},
	"tag":            {inRetention},
	"limit":          {inRetention},
	"auto":           {inRetention},

	"admin":            {inSite},
	"operator":         {inSite},
	"viewer":           {inSite},
	"health_token":     {inSite},
	"restore_root":     {inSite},
	"insecure_no_auth": {inSite},
	"read_only":        {inSite},
	"user":             {inSite},
	"allow_upload":     {inSite},
	"settings":         {inSite},
}

// wordsOf lists the words that belong in a block.
func wordsOf(here home) (words []string) {
	for word, belongs := range homes {
		if slices.Contains(belongs, here) {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return words
}

// strangeWord is the error for a word that the block here does not serve.
func strangeWord(d *caddyfile.Dispenser, here home) error {
	word := d.Val()
	belongs := homes[word]
	switch {
	case len(belongs) == 0:
		if like := near.Word(word, wordsOf(here)); like != "" {
			return d.Errf("unrecognized subdirective '%s'; did you mean %s?", word, like)
		}
		return d.Errf("unrecognized subdirective '%s'", word)
	case slices.Contains(belongs, here):
		return d.Errf("'%s' is not supported yet", word)
	}
	places := string(belongs[0])
	for _, b := range belongs[1:] {
		places += " or " + string(b)
	}
	return d.Errf("'%s' belongs in %s, not in %s", word, places, here)
}
