package app

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"

	"millrace/config"
	"millrace/platform/datadir"
	"millrace/platform/errs"
)

// dataPlatformDir is the folder to which the data platform writes its files.
func dataPlatformDir(cfg config.Config) string {
	if cfg.DataPlatform.Dir != "" {
		return cfg.DataPlatform.Dir
	}
	return filepath.Join(cfg.DataDir, dataPlatformName)
}

// dataPlatformName is the data platform's folder in data_dir.
const dataPlatformName = "dataplatform"

// prepareFolders creates the folders that the embedded server and the hosted
// modules write to. It reports a folder that cannot be written once, at the
// start, instead of at each later use. A full disk under the data platform's
// folder alone does not stop the start: the files are written when there is room.
func prepareFolders(cfg config.Config, hosted []string, log *slog.Logger) error {
	var faults []error
	dataDir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return err
	}
	if cfg.Embedded() || cfg.Simulator() && slices.Contains(hosted, "payment") {
		faults = append(faults, datadir.Prepare(dataDir, "data_dir", 0o700))
	}
	if slices.Contains(hosted, "dataplatform") {
		dir := dataPlatformDir(cfg)
		switch own := cfg.DataPlatform.Dir != ""; {
		case own:
			if dir, err = filepath.Abs(dir); err == nil {
				err = datadir.PrepareAny(dir, "dataplatform.dir", 0o750)
			}
		case errors.Join(faults...) == nil: // otherwise data_dir itself is reported already
			err = datadir.PrepareBelow(dataDir, dataPlatformName, "data_dir", 0o750)
		}
		if errs.KindOf(err) == errs.Resource {
			log.Warn("files of the data platform wait for room on the disk", "dir", dir, "error", err)
			err = nil
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
