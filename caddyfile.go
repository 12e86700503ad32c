package caddybackup

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/internal/setting"
	"github.com/caddy-backup/caddy-backup/storage"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("backup", parseGlobalOption)
}

// parseGlobalOption reads the global option `backup`. Several such blocks, from imported files for example, add up.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(earlier.Value, app); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "backup", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from its global option:
//
//	backup {
//		timezone <zone>
//		host <name>
//		cluster
//		repository [<name>] {
//			storage <location> {
//				<options of the storage>
//			}
//			password <password>
//			compression auto|off|max
//			pack_size <size>
//			check <schedule> [read_data <subset>]
//			prune <schedule>|after_forget [max_unused <share>]
//		}
//		public_url <address>
//		remind <interval>|off
//		notifier <name> <kind> [<arguments of the kind>] {
//			<options of the kind>
//		}
//		job <name> {
//			source <name> <kind> [<arguments of the kind>] {
//				<options of the kind>
//			}
//			to <repository>
//			timeout <duration>
//			stall_timeout <duration>|off
//			schedule <schedule>
//			timezone <zone>
//			jitter <duration>
//			overdue_after <duration>
//			enabled on|off
//			shrink_limit <percent>|off
//			notify <notifier...> [on <event...>]
//			mail_to <address...>
//			download_format none|gz|bz2|zst
//			retention {
//				<see unmarshalRetention>
//			}
//		}
//	}
//
// A schedule is as backup.ParseSchedule reads it. Repositories, notifiers, jobs and sources are repeatable, under
// different names, and so is notify. Without a name a repository is "default". Words
// of the grammar that are not served yet are refused as such; see homes.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the option
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "timezone":
			err = unmarshalTimezone(d, &a.Timezone)
		case "host":
			err = setting.OneArg(d, &a.Host)
		case "cluster":
			err = unmarshalFlag(d, &a.Cluster)
		case "repository":
			err = a.unmarshalRepository(d)
		case "job":
			err = a.unmarshalJob(d)
		case "remind":
			err = unmarshalDurationOrOff(d, &a.Remind)
		case "notifier":
			err = a.unmarshalNotifier(d)
		case "public_url":
			err = a.unmarshalPublicURL(d)
		default:
			err = strangeWord(d, inBackup)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unmarshalTimezone(d *caddyfile.Dispenser, name *string) error {
	if err := setting.OneArg(d, name); err != nil {
		return err
	}
	if strings.Contains(*name, "{") {
		return nil // a placeholder, known later
	}
	if _, err := time.LoadLocation(*name); err != nil {
		return d.Errf("bad timezone value '%s': %v", *name, err)
	}
	return nil
}

func (a *App) unmarshalRepository(d *caddyfile.Dispenser) error {
	name := defaultRepository
	if d.NextArg() {
		name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := checkName("repository", name); err != nil {
		return d.WrapErr(err)
	}
	if a.Repositories[name] != nil {
		return d.Errf("repository %s already specified", name)
	}
	r := new(Repository)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := r.unmarshalWord(d); err != nil {
			return err
		}
	}
	if a.Repositories == nil {
		a.Repositories = make(map[string]*Repository)
	}
	a.Repositories[name] = r
	return nil
}

func (r *Repository) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "storage":
		return r.unmarshalStorage(d)
	case "password":
		return setting.OneArg(d, &r.Password)
	case "compression":
		if err := setting.OneArg(d, &r.Compression); err != nil {
			return err
		}
		return wrap(d, checkCompression(r.Compression))
	case "pack_size":
		return r.unmarshalPackSize(d)
	case "check":
		return r.unmarshalCheck(d)
	case "prune":
		return r.unmarshalPrune(d)
	}
	return strangeWord(d, inRepository)
}

func (r *Repository) unmarshalStorage(d *caddyfile.Dispenser) error {
	if r.StorageRaw != nil {
		return d.Err("storage already specified")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	scheme, err := storage.ModuleFor(d.Val())
	if err != nil {
		return d.WrapErr(err)
	}
	guest, err := caddyfile.UnmarshalModule(d, "backup.storages."+scheme)
	if err != nil {
		return err
	}
	r.StorageRaw = caddyconfig.JSONModuleObject(guest, "scheme", scheme, nil)
	return nil
}

func (r *Repository) unmarshalPackSize(d *caddyfile.Dispenser) error {
	if r.PackSize != 0 {
		return d.Err("pack_size already specified")
	}
	var text string
	if err := setting.OneArg(d, &text); err != nil {
		return err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil {
		return d.Errf("bad pack_size value '%s': %v", text, err)
	}
	if size < minPackSize || size > maxPackSize {
		return d.Errf("bad pack_size value '%s': must be between 4MiB and 128MiB", text)
	}
	r.PackSize = int(size)
	return nil
}

// unmarshalFlag reads a word that says all by being there, once.
func unmarshalFlag(d *caddyfile.Dispenser, flag *bool) error {
	if *flag {
		return d.Errf("%s already specified", d.Val())
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	*flag = true
	return nil
}

// wrap adds file and line to an error, if there is one.
func wrap(d *caddyfile.Dispenser, err error) error {
	if err != nil {
		err = d.WrapErr(err)
	}
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
