package caddybackup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// checkCluster refuses a cluster in which each member would have something of its own that all must share.
func (a *App) checkCluster() error {
	if !a.Cluster {
		return nil
	}
	if a.Host == "" {
		return errors.New("cluster: all members need the same name in snapshots: add a line such as: host shop")
	}
	if len(a.Repositories) == 0 {
		return errors.New("cluster: there is no repository that all members reach: add a repository with storage and password")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Repositories)) {
		r := a.Repositories[name]
		if r == nil || r.StorageRaw == nil {
			return fmt.Errorf("cluster: repository %s lies in the data directory of each machine: add a line such as: storage /mnt/shared/backups", name)
		}
		if r.Password == "" {
			return fmt.Errorf("cluster: the password of repository %s would be generated on one machine, and the others could not open it: add a line such as: password {file./etc/caddy/backup-password}", name)
		}
	}
	return nil
}
