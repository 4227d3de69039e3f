//! Capture as the agent has it, with applications that are processes of their own.

mod agent;
mod client;
mod counts;
mod network;

mod enrolment;
mod failures;
mod inbound;
mod kubelet;
mod outbound;
mod restart;
