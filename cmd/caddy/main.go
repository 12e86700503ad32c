// Command caddy is Caddy with this plugin: what xcaddy would write.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-backup/caddy-backup"
)

func main() { caddycmd.Main() }
