package handler

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// Both directives are registered here, so that their order to each other is fixed: after authentication and encode,
// before whatever answers requests.
func init() {
	httpcaddyfile.RegisterHandlerDirective("backup", parseBackup)
	httpcaddyfile.RegisterDirectiveOrder("backup", httpcaddyfile.Before, "intercept")
	httpcaddyfile.RegisterHandlerDirective("backup_accel", parseAccel)
	httpcaddyfile.RegisterDirectiveOrder("backup_accel", httpcaddyfile.Before, "intercept")
}

// parseBackup sets up the handler from Caddyfile tokens. Syntax:
//
//	backup [<matcher>] {
//	    admin            <names...>
//	    operator         <names...>
//	    viewer           <names...>
//	    user             <placeholder>
//	    insecure_no_auth
//	    read_only
//	    health_token     <token>
//	    restore_root     <path>
//	    allow_upload     [<size>]
//	}
func parseBackup(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	handler := new(Handler)
	for h.NextBlock(0) {
		if err := handler.parse(h); err != nil {
			return nil, err
		}
	}
	return handler, nil
}

// parse reads one subdirective.
func (h *Handler) parse(d httpcaddyfile.Helper) error {
	switch word := d.Val(); word {
	case "admin":
		return names(d, &h.Admins)
	case "operator":
		return names(d, &h.Operators)
	case "viewer":
		return names(d, &h.Viewers)
	case "user":
		return setting.OneArg(d.Dispenser, &h.User)
	case "health_token":
		return setting.OneArg(d.Dispenser, &h.HealthToken)
	case "restore_root":
		return setting.OneArg(d.Dispenser, &h.RestoreRoot)
	case "insecure_no_auth":
		return flag(d, &h.InsecureNoAuth)
	case "read_only":
		return flag(d, &h.ReadOnly)
	case "allow_upload":
		return h.parseAllowUpload(d)
	case "settings":
		return d.Errf("'%s' is not supported yet", word)
	default:
		return d.Errf("unrecognized subdirective '%s'", word)
	}
}

// names reads one name or more; several lines add up.
func names(d httpcaddyfile.Helper, into *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*into = append(*into, args...)
	return nil
}

// uploads is how large an uploaded dump may be, in bytes, where allow_upload does not say.
const uploads = 2 << 30

func (h *Handler) parseAllowUpload(d httpcaddyfile.Helper) error {
	if h.AllowUpload != 0 {
		return d.Err("allow_upload already specified")
	}
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.ArgErr()
	}
	if h.AllowUpload = uploads; len(args) == 0 {
		return nil
	}
	size, err := humanize.ParseBytes(args[0])
	if err != nil {
		return d.Errf("bad allow_upload value '%s': %v", args[0], err)
	}
	if size == 0 || size > 1<<60 {
		return d.Errf("bad allow_upload value '%s': must be a size, such as 500MiB", args[0])
	}
	h.AllowUpload = int64(size)
	return nil
}

// flag reads a word without values.
func flag(d httpcaddyfile.Helper, into *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*into = true
	return nil
}

// parseAccel sets up the handler from Caddyfile tokens. Syntax:
//
//	backup_accel [<matcher>] {
//	    snapshots     <prefix> <jobs...>|*
//	    files         <prefix> <folder>
//	    sendfile_root <folder>
//	}
//
// All three are repeatable, and at least one of them is needed.
func parseAccel(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	handler := new(Accel)
	for h.NextBlock(0) {
		if err := handler.parseWord(h); err != nil {
			return nil, err
		}
	}
	if err := handler.check(true); err != nil {
		return nil, h.WrapErr(err)
	}
	return handler, nil
}

// parseWord reads one subdirective.
func (a *Accel) parseWord(d httpcaddyfile.Helper) error {
	word, args := d.Val(), d.RemainingArgs()
	switch {
	case word == "snapshots" && len(args) > 0:
		a.Snapshots = append(a.Snapshots, AccelSnapshots{Prefix: args[0], Jobs: args[1:]})
	case word == "files" && len(args) == 2:
		a.Files = append(a.Files, AccelFiles{Prefix: args[0], Root: args[1]})
	case word == "sendfile_root" && len(args) == 1:
		a.SendfileRoots = append(a.SendfileRoots, args[0])
	case word == "snapshots" || word == "files" || word == "sendfile_root":
		return d.ArgErr()
	default:
		return d.Errf("unrecognized subdirective '%s'", word)
	}
	return nil
}
