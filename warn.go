package caddybackup

import "time"

// warnOfCries tells of jobs that will be overdue although all is well: who is called for nothing soon hears nothing more.
func (a *App) warnOfCries() {
	for _, j := range a.jobsNow() {
		if text := j.CriesTooEarly(time.Now()); text != "" && !j.Off {
			a.log.Warn("job " + j.Name + ": " + text)
		}
	}
}
