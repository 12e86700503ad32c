package caddybackup

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/handler"
)

// withheld stands where a secret may stand.
const withheld = "(withheld)"

// AddedJob implements handler.JobKeeper.
func (a *App) AddedJob(ctx context.Context, name string) (x handler.AddedJob, err error) {
	s, err := a.setting(ctx, name)
	if err != nil {
		return x, err
	}
	if s.Name == "" {
		return x, a.notAdded(name)
	}
	if s.Damaged != nil {
		return x, s.Damaged
	}
	j, err := decodeJob(s.Job)
	if err != nil {
		return x, err
	}
	hideSecrets(j)
	x = handler.AddedJob{Name: s.Name, AddedJob: s.AddedJob}
	x.Job, err = json.Marshal(j)
	return x, err
}

// hideSecrets takes out of a job whatever may be a secret that stands there as it is: of sources that cannot tell, all but the
// engine.
func hideSecrets(j *Job) {
	for _, s := range j.Sources {
		engine := engineOf(s)
		settings := map[string]any{"engine": engine}
		info, err := caddy.GetModule("backup.sources." + engine)
		if err != nil {
			s.SourceRaw, _ = json.Marshal(settings)
			continue
		}
		guest, tells := info.New().(keepsSecret)
		if tells && json.Unmarshal(s.SourceRaw, guest) == nil && json.Unmarshal(s.SourceRaw, &settings) == nil {
			if secret := guest.LiteralSecret(); secret != "" && !strings.HasPrefix(secret, "env ") {
				settings[secret] = withheld
			}
			if env, ok := settings["env"].(map[string]any); ok {
				for name, value := range env {
					env[name] = shownEnv(value)
				}
			}
		}
		s.SourceRaw, _ = json.Marshal(settings)
	}
	for _, hook := range slices.Concat(j.Before, j.After) {
		if hook.LiteralSecret() == "command" {
			hook.Command = append(hook.Command[:1], withheld)
		}
		for name, value := range hook.Env {
			hook.Env[name] = shownEnv(value)
		}
	}
}

// shownEnv is a value that is a placeholder and nothing else, or what stands for it.
func shownEnv(value any) string {
	if text, ok := value.(string); ok && wholePlaceholder.MatchString(text) {
		return text
	}
	return withheld
}
