package handler

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
)

// The addresses of pages, from the mount point and escaped; templates put the way back to it before them.

func jobAddress(job string) string { return join("jobs", job) }

func runAddress(id string) string { return join("runs", id) }

func snapshotAddress(repository, id string) string {
	return join("snapshots", id) + inRepository(repository)
}

func folderAddress(repository, id, path string) string {
	return join("snapshots", id, "ls") + inSnapshot(path) + inRepository(repository)
}

func fileAddress(repository, id, path string) string {
	return join("snapshots", id, "files") + inSnapshot(path) + inRepository(repository)
}

// restoreAddress is the form that restores something of a snapshot.
func restoreAddress(repository, id, path string) string {
	q := query("path", path)
	if repository != defaultRepository {
		q.Set("repository", repository)
	}
	return join("snapshots", id, "restore") + "?" + q.Encode()
}

// formatLink leads to a download in one format.
type formatLink struct {
	Format, Address string
}

// formatLinks are the ways in which a file or folder can be downloaded, but the one that its own link leads to; none for
// links and devices.
func formatLinks(repository, id string, c backup.Content, own archive.Format) []formatLink {
	formats := slices.DeleteFunc(slices.Clone(archive.OfFiles), func(f archive.Format) bool { return f == own })
	switch c.Type {
	case "dir":
		formats = archive.OfFolders
	case "file":
	default:
		return nil
	}
	at := fileAddress(repository, id, c.Path)
	return each(formats, func(f archive.Format) formatLink { return formatLink{string(f), inFormat(at, f)} })
}

// inFormat is the address of a download in a format.
func inFormat(address string, f archive.Format) string {
	sep := "?"
	if strings.Contains(address, "?") {
		sep = "&"
	}
	return address + sep + "format=" + string(f)
}

func inRepository(name string) string {
	if name == "" || name == defaultRepository {
		return ""
	}
	return "?" + url.Values{"repository": {name}}.Encode()
}

// pager leads through the pages of a long list.
type pager struct {
	Page, Pages, Total int
	Prev, Next         string // addresses relative to the page itself; empty where there is none
}

// newPager is for page (from 1) of total things; the addresses keep the other parameters of the query.
func newPager(page, per, total int, q url.Values) pager {
	p := pager{Page: page, Pages: max(1, (total+per-1)/per), Total: total}
	to := func(n int) string {
		q.Set("page", strconv.Itoa(n))
		return "?" + q.Encode()
	}
	if page > 1 {
		p.Prev = to(min(page-1, p.Pages))
	}
	if page < p.Pages {
		p.Next = to(page + 1)
	}
	return p
}
