//! Taking over: records of another store, and rows of the original application.

use tokenkeep_core::codec::{CodecError, Sealing};
use tokenkeep_core::{DeviceId, ImportOutcome, StoreError, Timestamp, TokenRecord};

use crate::devices::not_understood;
use crate::driver::{Reply, Script};
use crate::row::{self, Life, Row, hex, micros, none};
use crate::scripts::{ADOPT, IMPORT, args};
use crate::store::Inner;

impl Inner {
    pub(crate) async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        if record.is_dead(now) {
            return Ok(ImportOutcome::Expired);
        }
        let (device, life) = (record.device_id, Life::of(&record));
        self.learn(&record.email, device, &life, now).await?;
        let mut intent = Vec::new();
        if let Some(here) = &record.refresh_intent {
            self.note_intent(device, &hex(here.holder.as_bytes()), here.leased_until).await?;
            intent = row::intent(here);
        }
        let previous = record.previous_visit_at.map_or_else(none, micros);
        let (version, count) = (record.version.number(), intent.len());
        let Life { hard, idle, seen, .. } = life;
        let mut args = args![micros(now), version, hard, idle, seen, previous, count];
        args.extend(intent);
        let turn = self.turn_to_seal().await?;
        args.extend(self.encode(&record, &turn)?);
        match self.on_adopted(&IMPORT, device, &args, now).await?.word() {
            "imported" => Ok(ImportOutcome::Imported),
            "kept" => Ok(ImportOutcome::Kept),
            "ended" => {
                self.unlearn(&record.email, device, now).await;
                Ok(ImportOutcome::Ended)
            }
            _ => not_understood(),
        }
    }

    /// Runs `script` on the record of `device`; if the original application wrote it meanwhile,
    /// takes that over first.
    pub(crate) async fn on_adopted(
        &self,
        script: &Script,
        device: DeviceId,
        args: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Reply, StoreError> {
        for _ in 0..ROUNDS {
            let reply = self.on_record(script, device, args).await?;
            if reply.word() != "foreign" {
                return Ok(reply);
            }
            if matches!(self.sealing, Sealing::On(_)) {
                return Err(self.unreadable(device, CodecError::Unsealed));
            }
            if let Some(row) = self.row(device).await? {
                self.adopt(device, &row, now).await?;
            }
        }
        not_understood()
    }

    /// Gives `row`, as the original application wrote it, our own fields; true if it did.
    pub(crate) async fn adopt(
        &self,
        device: DeviceId,
        row: &Row,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let columns = row.columns().map_err(|cause| self.unreadable(device, cause))?;
        let mut record = columns
            .decode(device, &Sealing::Off, &self.id, now)
            .map_err(|cause| self.unreadable(device, cause))?;
        if columns.rest.is_some() {
            // Other tokens than those of this version: compare-and-set must notice.
            record.version = record.version.next();
            record.last_seen_at = row.instant("last_seen_at").unwrap_or(record.last_seen_at);
            record.previous_visit_at = row.instant("previous_visit_at");
        }
        self.learn(&record.email, device, &Life::of(&record), now).await?;
        let mut args = args![micros(now), micros(record.dies_at())];
        let read = [
            &columns.email,
            &columns.token_type,
            &*columns.access_token,
            &columns.access_expiry,
            &*columns.refresh_token,
            &columns.refresh_expiry,
        ];
        args.extend(read.map(|column| column.as_bytes().to_vec()));
        let turn = self.turn_to_seal().await?;
        args.extend(self.encode(&record, &turn)?);
        args.extend(row::notes(&record));
        if matches!(self.sealing, Sealing::Off) {
            // Its columns stay as they are, to the letter.
            args.extend(
                std::iter::zip(row::SHARED, read).flat_map(|(name, column)| {
                    [name.as_bytes().to_vec(), column.as_bytes().to_vec()]
                }),
            );
            let written = columns.refresh_expiry.as_bytes();
            args.extend([b"written".to_vec(), written.to_vec()]);
        }
        Ok(self.on_record(&ADOPT, device, &args).await?.word() == "adopted")
    }
}

const ROUNDS: usize = 8;
