//! The program from the user's point of view: its reaction to faulty subjects, drivers and files,
//! and its command line. Nothing is ever left behind.

mod choice;
mod desk;
mod drivers;
mod files;
mod interrupted;
mod plugins;
mod reports;
