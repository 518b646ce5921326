BEGIN TRANSACTION;
CREATE TABLE accounts (
	id VARCHAR(36) NOT NULL,
	slug TEXT NOT NULL,
	name TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_accounts PRIMARY KEY (id),
	CONSTRAINT uq_accounts_slug UNIQUE (slug)
);
CREATE TABLE agents (
	id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36),
	name TEXT NOT NULL,
	labels JSON NOT NULL,
	slots INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	last_seen_at BIGINT NOT NULL, paused BOOLEAN DEFAULT 0 NOT NULL, removed_at BIGINT, drained BOOLEAN DEFAULT 0 NOT NULL, home TEXT,
	CONSTRAINT pk_agents PRIMARY KEY (id),
	CONSTRAINT fk_agents_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0056');
CREATE TABLE artifacts (
	step_id VARCHAR(36) NOT NULL,
	epoch INTEGER NOT NULL,
	name TEXT NOT NULL,
	size BIGINT NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	mode INTEGER NOT NULL, modified BIGINT,
	CONSTRAINT pk_artifacts PRIMARY KEY (step_id, epoch, name),
	CONSTRAINT fk_artifacts_step_id FOREIGN KEY(step_id) REFERENCES steps (id)
);
CREATE TABLE attempts (
	step_id VARCHAR(36) NOT NULL,
	epoch INTEGER NOT NULL,
	number INTEGER NOT NULL,
	state TEXT NOT NULL,
	holder TEXT NOT NULL,
	exit_code INTEGER,
	reason TEXT,
	log_bytes BIGINT,
	log_sha256 VARCHAR(64),
	started_at BIGINT NOT NULL,
	finished_at BIGINT, given_with VARCHAR(60), log_of VARCHAR(60), outputs JSON, log_stored BIGINT,
	CONSTRAINT pk_attempts PRIMARY KEY (step_id, epoch),
	CONSTRAINT fk_attempts_step_id FOREIGN KEY(step_id) REFERENCES steps (id)
);
CREATE TABLE audit_counts (
	project_id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	action TEXT NOT NULL,
	entries INTEGER NOT NULL,
	CONSTRAINT pk_audit_counts PRIMARY KEY (project_id, account_id, action)
)
 WITHOUT ROWID

;
CREATE TABLE "audit_log" (
	id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36),
	project_id VARCHAR(36),
	action TEXT NOT NULL,
	details JSON NOT NULL,
	created_at BIGINT NOT NULL,
	ordinal BIGINT DEFAULT '0' NOT NULL,
	CONSTRAINT pk_audit_log PRIMARY KEY (id),
	CONSTRAINT fk_audit_log_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE begun_pushes (
	project_id VARCHAR(36) NOT NULL,
	ref TEXT NOT NULL,
	sha VARCHAR(64) NOT NULL,
	processes INTEGER NOT NULL,
	CONSTRAINT pk_begun_pushes PRIMARY KEY (project_id, ref, sha),
	CONSTRAINT fk_begun_pushes_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE build_counts (
	branch TEXT NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	state TEXT NOT NULL,
	builds INTEGER NOT NULL,
	CONSTRAINT pk_build_counts PRIMARY KEY (branch, account_id, project_id, state),
	CONSTRAINT fk_build_counts_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_build_counts_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
)
 WITHOUT ROWID

;
CREATE TABLE build_images (
	build_id VARCHAR(36) NOT NULL,
	reference VARCHAR(600) NOT NULL,
	digest VARCHAR(71) NOT NULL, found_at BIGINT,
	CONSTRAINT pk_build_images PRIMARY KEY (build_id, reference),
	CONSTRAINT fk_build_images_build_id FOREIGN KEY(build_id) REFERENCES builds (id)
);
CREATE TABLE build_listeners (
	id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	path TEXT NOT NULL,
	upstream TEXT NOT NULL,
	definition JSON NOT NULL,
	CONSTRAINT pk_build_listeners PRIMARY KEY (id),
	CONSTRAINT fk_build_listeners_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_build_listeners_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE builds (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	workflow_id VARCHAR(36),
	workflow_name TEXT NOT NULL,
	number INTEGER NOT NULL,
	state TEXT NOT NULL,
	event TEXT NOT NULL,
	version INTEGER NOT NULL,
	reason TEXT,
	problems JSON NOT NULL,
	commit_hash TEXT,
	repo_url TEXT,
	branch TEXT,
	commit_message TEXT,
	commit_author TEXT,
	retry_of VARCHAR(36),
	created_at BIGINT NOT NULL,
	started_at BIGINT,
	finished_at BIGINT, tag TEXT, params JSON, pull_request JSON, updated_at BIGINT DEFAULT '0' NOT NULL, module JSON, clean BOOLEAN DEFAULT 0 NOT NULL, ordinal BIGINT DEFAULT '0' NOT NULL, outside BOOLEAN DEFAULT 0 NOT NULL, open_steps INTEGER DEFAULT '0' NOT NULL, includes JSON DEFAULT '[]' NOT NULL, concurrency_group TEXT, cancel_running BOOLEAN DEFAULT 0 NOT NULL, in_line BOOLEAN DEFAULT 0 NOT NULL, fail_fast BOOLEAN DEFAULT 0 NOT NULL, timeout_seconds INTEGER, deadline BIGINT, fails_as TEXT, started_by TEXT, has_outputs BOOLEAN DEFAULT 0 NOT NULL, open_gates INTEGER DEFAULT '0' NOT NULL, timeout_left FLOAT, tells BOOLEAN DEFAULT 0 NOT NULL, notify JSON, starts_others BOOLEAN DEFAULT 0 NOT NULL, upstream JSON, pinned_by TEXT, logs_gone_at BIGINT, artifacts_gone_at BIGINT, keeps JSON, trusted_ref TEXT,
	CONSTRAINT pk_builds PRIMARY KEY (id),
	CONSTRAINT fk_builds_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_builds_project_id FOREIGN KEY(project_id) REFERENCES projects (id),
	CONSTRAINT fk_builds_retry_of FOREIGN KEY(retry_of) REFERENCES builds (id),
	CONSTRAINT fk_builds_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflows (id),
	CONSTRAINT uq_builds_project_id_number UNIQUE (project_id, number)
);
CREATE TABLE cache_generations (
	project_id VARCHAR(36) NOT NULL,
	scope TEXT NOT NULL,
	step_name TEXT NOT NULL,
	generation TEXT NOT NULL,
	previous TEXT,
	CONSTRAINT pk_cache_generations PRIMARY KEY (project_id, scope, step_name),
	CONSTRAINT fk_cache_generations_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE credentials (
	project_id VARCHAR(36) NOT NULL,
	kind TEXT NOT NULL,
	host TEXT NOT NULL,
	sealed BLOB NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_credentials PRIMARY KEY (project_id),
	CONSTRAINT fk_credentials_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE deliveries (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	delivery_id TEXT NOT NULL,
	forge TEXT NOT NULL,
	event TEXT NOT NULL,
	state TEXT NOT NULL,
	reason TEXT,
	payload JSON NOT NULL,
	builds JSON NOT NULL,
	attempts INTEGER NOT NULL,
	next_try_at BIGINT,
	received_at BIGINT NOT NULL,
	finished_at BIGINT, ordinal BIGINT DEFAULT '0' NOT NULL,
	CONSTRAINT pk_deliveries PRIMARY KEY (id),
	CONSTRAINT fk_deliveries_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_deliveries_project_id FOREIGN KEY(project_id) REFERENCES projects (id),
	CONSTRAINT uq_deliveries_project_id_delivery_id UNIQUE (project_id, delivery_id)
);
CREATE TABLE deployments (
	id VARCHAR(50) NOT NULL,
	build_id VARCHAR(36) NOT NULL,
	image_build_id VARCHAR(50),
	account_id VARCHAR(36) NOT NULL,
	agent_name TEXT NOT NULL,
	image TEXT NOT NULL,
	llm_configs JSON NOT NULL,
	replaced_by VARCHAR(50),
	created_at BIGINT NOT NULL, healthy_epoch INTEGER,
	CONSTRAINT pk_deployments PRIMARY KEY (id),
	CONSTRAINT fk_deployments_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_deployments_build_id FOREIGN KEY(build_id) REFERENCES builds (id),
	CONSTRAINT fk_deployments_image_build_id FOREIGN KEY(image_build_id) REFERENCES image_builds (id),
	CONSTRAINT uq_deployments_build_id UNIQUE (build_id)
);
CREATE TABLE doomed_objects (
	kind TEXT NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	name TEXT NOT NULL,
	CONSTRAINT pk_doomed_objects PRIMARY KEY (kind, account_id, name),
	CONSTRAINT fk_doomed_objects_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE followings (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	path TEXT NOT NULL,
	upstream JSON NOT NULL, faults INTEGER DEFAULT '0' NOT NULL, due_at BIGINT,
	CONSTRAINT pk_followings PRIMARY KEY (id),
	CONSTRAINT fk_followings_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE former_slugs (
	account_id VARCHAR(36) NOT NULL,
	slug TEXT NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	CONSTRAINT pk_former_slugs PRIMARY KEY (account_id, slug),
	CONSTRAINT fk_former_slugs_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_former_slugs_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE generations (
	number INTEGER NOT NULL,
	first_epoch INTEGER NOT NULL,
	backed_up_at BIGINT NOT NULL,
	restored_at BIGINT NOT NULL,
	entered_at BIGINT,
	CONSTRAINT pk_generations PRIMARY KEY (number)
);
CREATE TABLE image_builds (
	id VARCHAR(50) NOT NULL,
	build_id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	agent_name TEXT NOT NULL,
	image TEXT NOT NULL,
	language TEXT NOT NULL,
	entry_point TEXT,
	framework TEXT,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_image_builds PRIMARY KEY (id),
	CONSTRAINT fk_image_builds_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_image_builds_build_id FOREIGN KEY(build_id) REFERENCES builds (id),
	CONSTRAINT uq_image_builds_build_id UNIQUE (build_id)
);
CREATE TABLE image_projects (
	account_id VARCHAR(36) NOT NULL,
	image_name TEXT NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	CONSTRAINT pk_image_projects PRIMARY KEY (account_id, image_name),
	CONSTRAINT fk_image_projects_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_image_projects_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE "images" (
	id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	slug TEXT NOT NULL,
	image_url TEXT NOT NULL,
	public BOOLEAN NOT NULL,
	shared BOOLEAN NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_images PRIMARY KEY (id),
	CONSTRAINT fk_images_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT uq_images_account_id_slug UNIQUE (account_id, slug)
);
CREATE TABLE input_lists (
	project_id VARCHAR(36) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	files BLOB NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_input_lists PRIMARY KEY (project_id, digest),
	CONSTRAINT fk_input_lists_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE keyed_requests (
	account_id VARCHAR(36) NOT NULL,
	holder VARCHAR(300) NOT NULL,
	"key" VARCHAR(255) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	build_id VARCHAR(36) NOT NULL,
	answer TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_keyed_requests PRIMARY KEY (account_id, holder, "key")
);
CREATE TABLE lfs_objects (
	project_id VARCHAR(36) NOT NULL,
	oid VARCHAR(64) NOT NULL,
	size BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_lfs_objects PRIMARY KEY (project_id, oid),
	CONSTRAINT fk_lfs_objects_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE lfs_origins (
	project_id VARCHAR(36) NOT NULL,
	oid VARCHAR(64) NOT NULL,
	origin VARCHAR(64) NOT NULL,
	CONSTRAINT pk_lfs_origins PRIMARY KEY (project_id, oid, origin),
	CONSTRAINT fk_lfs_origins_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE log_tails (
	attempt_id VARCHAR(60) NOT NULL,
	start BIGINT NOT NULL,
	kind TEXT NOT NULL,
	end_offset BIGINT NOT NULL,
	body BLOB NOT NULL,
	CONSTRAINT pk_log_tails PRIMARY KEY (attempt_id, start)
);
CREATE TABLE memberships (
	user_id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	role TEXT NOT NULL,
	CONSTRAINT pk_memberships PRIMARY KEY (user_id, account_id),
	CONSTRAINT fk_memberships_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_memberships_user_id FOREIGN KEY(user_id) REFERENCES users (id)
);
CREATE TABLE module_files (
	project_id VARCHAR(36) NOT NULL,
	commit_hash TEXT,
	branch TEXT,
	problems JSON NOT NULL,
	is_broken BOOLEAN NOT NULL,
	CONSTRAINT pk_module_files PRIMARY KEY (project_id),
	CONSTRAINT fk_module_files_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE modules (
	project_id VARCHAR(36) NOT NULL,
	name TEXT NOT NULL,
	definition JSON NOT NULL,
	CONSTRAINT pk_modules PRIMARY KEY (project_id, name),
	CONSTRAINT fk_modules_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	project_id VARCHAR(36) NOT NULL,
	recipient_id VARCHAR(36) NOT NULL,
	kind TEXT NOT NULL,
	stream TEXT NOT NULL,
	build_id VARCHAR(36) NOT NULL,
	build_number INTEGER NOT NULL,
	facts JSON NOT NULL,
	state TEXT NOT NULL,
	reason TEXT,
	attempts INTEGER NOT NULL,
	next_try_at BIGINT,
	tried_since BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	finished_at BIGINT,
	CONSTRAINT fk_outbox_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE output_entries (
	step_id VARCHAR(36) NOT NULL,
	epoch INTEGER NOT NULL,
	name TEXT NOT NULL,
	target TEXT,
	mode INTEGER NOT NULL,
	CONSTRAINT pk_output_entries PRIMARY KEY (step_id, epoch, name),
	CONSTRAINT fk_output_entries_step_id FOREIGN KEY(step_id) REFERENCES steps (id)
);
CREATE TABLE projects (
	id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	name TEXT NOT NULL,
	slug TEXT NOT NULL,
	repo_url TEXT,
	build_count INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL, delivery_count INTEGER DEFAULT '0' NOT NULL, stored_bytes BIGINT DEFAULT '0' NOT NULL, archived_at BIGINT, webhook_secret_number INTEGER DEFAULT '0' NOT NULL, tells BOOLEAN DEFAULT 0 NOT NULL, forge TEXT, public_badges BOOLEAN DEFAULT 0 NOT NULL, status_per_step BOOLEAN DEFAULT 0 NOT NULL, log_bytes BIGINT DEFAULT '0' NOT NULL, trusted BOOLEAN DEFAULT 0 NOT NULL,
	CONSTRAINT pk_projects PRIMARY KEY (id),
	CONSTRAINT fk_projects_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT uq_projects_account_id_slug UNIQUE (account_id, slug)
);
CREATE TABLE recipients (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	kind TEXT NOT NULL,
	forge TEXT,
	address TEXT NOT NULL,
	occasions TEXT DEFAULT '' NOT NULL,
	sealed BLOB NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_recipients PRIMARY KEY (id),
	CONSTRAINT fk_recipients_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE ref_moves (
	project_id VARCHAR(36) NOT NULL,
	ref TEXT NOT NULL,
	version BIGINT NOT NULL,
	number BIGINT NOT NULL,
	old VARCHAR(64),
	new VARCHAR(64) NOT NULL,
	moved_at BIGINT NOT NULL,
	CONSTRAINT pk_ref_moves PRIMARY KEY (project_id, ref, version, number)
);
CREATE TABLE registry_logins (
	scope_id VARCHAR(36) NOT NULL,
	host TEXT NOT NULL,
	username TEXT NOT NULL,
	sealed BLOB NOT NULL,
	updated_at BIGINT NOT NULL,
	CONSTRAINT pk_registry_logins PRIMARY KEY (scope_id, host)
);
CREATE TABLE retention (
	scope_id VARCHAR(36) NOT NULL,
	rules JSON NOT NULL,
	enforced BOOLEAN NOT NULL,
	updated_at BIGINT NOT NULL,
	CONSTRAINT pk_retention PRIMARY KEY (scope_id)
);
INSERT INTO "retention" VALUES('','{}',1,0);
CREATE TABLE schedules (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	path TEXT NOT NULL,
	definition JSON NOT NULL,
	next_at BIGINT NOT NULL,
	CONSTRAINT pk_schedules PRIMARY KEY (id),
	CONSTRAINT fk_schedules_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE secret_values (
	scope_id VARCHAR(36) NOT NULL,
	name TEXT NOT NULL,
	pattern TEXT NOT NULL,
	sealed BLOB NOT NULL,
	updated_at BIGINT NOT NULL,
	CONSTRAINT pk_secret_values PRIMARY KEY (scope_id, name, pattern)
);
CREATE TABLE seen_refs (
	project_id VARCHAR(36) NOT NULL,
	ref TEXT NOT NULL,
	sha VARCHAR(64) NOT NULL,
	CONSTRAINT pk_seen_refs PRIMARY KEY (project_id, ref),
	CONSTRAINT fk_seen_refs_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE signing_keys (
	id VARCHAR(36) NOT NULL,
	sealed BLOB NOT NULL,
	created_at BIGINT NOT NULL,
	retired_at BIGINT,
	CONSTRAINT pk_signing_keys PRIMARY KEY (id)
);
CREATE TABLE step_inputs (
	step_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	build_number INTEGER NOT NULL,
	workflow TEXT NOT NULL,
	name TEXT NOT NULL,
	scope TEXT NOT NULL,
	"key" VARCHAR(64),
	parts JSON NOT NULL,
	files VARCHAR(64),
	never TEXT,
	asked BOOLEAN DEFAULT 0 NOT NULL,
	taken_from INTEGER,
	epoch INTEGER,
	left_files VARCHAR(64), laptop_of TEXT,
	CONSTRAINT pk_step_inputs PRIMARY KEY (step_id),
	CONSTRAINT fk_step_inputs_step_id FOREIGN KEY(step_id) REFERENCES steps (id),
	CONSTRAINT fk_step_inputs_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE step_results (
	step_id VARCHAR(36) NOT NULL,
	epoch INTEGER NOT NULL,
	build_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	build_number INTEGER NOT NULL,
	series VARCHAR(32) NOT NULL,
	inputs VARCHAR(32) NOT NULL,
	branch TEXT,
	tests_id BIGINT NOT NULL,
	taken_over BOOLEAN DEFAULT 0 NOT NULL,
	whole BOOLEAN DEFAULT 0 NOT NULL,
	tests INTEGER,
	failed INTEGER,
	skipped INTEGER,
	milliseconds BIGINT,
	sentence TEXT,
	lines INTEGER,
	lines_covered INTEGER,
	branches INTEGER,
	branches_covered INTEGER,
	summary JSON,
	warnings JSON DEFAULT '[]' NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_step_results PRIMARY KEY (step_id, epoch),
	CONSTRAINT fk_step_results_step_id_steps FOREIGN KEY(step_id) REFERENCES steps (id),
	CONSTRAINT fk_step_results_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id),
	CONSTRAINT fk_step_results_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE steps (
	id VARCHAR(36) NOT NULL,
	build_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	account_id VARCHAR(36) NOT NULL,
	position INTEGER NOT NULL,
	name TEXT NOT NULL,
	state TEXT NOT NULL,
	definition JSON NOT NULL,
	depends_on JSON NOT NULL,
	labels JSON NOT NULL,
	epoch INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	lost_count INTEGER NOT NULL,
	holder TEXT,
	lease_seconds FLOAT,
	cancel_requested_by TEXT,
	exit_code INTEGER,
	reason TEXT,
	message TEXT,
	ready_at BIGINT,
	started_at BIGINT,
	finished_at BIGINT, needs JSON DEFAULT '[]' NOT NULL, images JSON, queue_class VARCHAR(32) DEFAULT '' NOT NULL, queue_until BIGINT, waits INTEGER DEFAULT '0' NOT NULL, dependants JSON DEFAULT '[]' NOT NULL, answer JSON, concurrency_group TEXT, gone_outputs JSON,
	CONSTRAINT pk_steps PRIMARY KEY (id),
	CONSTRAINT fk_steps_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_steps_build_id FOREIGN KEY(build_id) REFERENCES builds (id),
	CONSTRAINT fk_steps_project_id FOREIGN KEY(project_id) REFERENCES projects (id),
	CONSTRAINT uq_steps_build_id_name UNIQUE (build_id, name)
);
CREATE TABLE stored_packs (
	object TEXT NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	name TEXT NOT NULL,
	aside BIGINT,
	pack_bytes BIGINT NOT NULL,
	index_bytes BIGINT NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	created_at BIGINT NOT NULL,
	goes_at BIGINT,
	CONSTRAINT pk_stored_packs PRIMARY KEY (object)
);
CREATE TABLE stored_refs (
	project_id VARCHAR(36) NOT NULL,
	ref TEXT NOT NULL,
	sha VARCHAR(64) NOT NULL,
	CONSTRAINT pk_stored_refs PRIMARY KEY (project_id, ref)
);
CREATE TABLE stored_repositories (
	project_id VARCHAR(36) NOT NULL,
	version BIGINT NOT NULL,
	stamp VARCHAR(32) NOT NULL,
	head TEXT NOT NULL,
	CONSTRAINT pk_stored_repositories PRIMARY KEY (project_id)
);
CREATE TABLE test_names (
	test_key VARCHAR(32) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	workflow_name TEXT NOT NULL,
	step_name TEXT NOT NULL,
	suite TEXT NOT NULL,
	name TEXT NOT NULL,
	CONSTRAINT pk_test_names PRIMARY KEY (test_key),
	CONSTRAINT fk_test_names_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE test_results (
	tests_id BIGINT NOT NULL,
	position INTEGER NOT NULL,
	test_key VARCHAR(32) NOT NULL,
	result TEXT NOT NULL,
	flaky BOOLEAN NOT NULL,
	milliseconds BIGINT NOT NULL,
	message TEXT,
	details TEXT,
	file TEXT,
	line INTEGER,
	CONSTRAINT pk_test_results PRIMARY KEY (tests_id, position)
);
CREATE TABLE tokens (
	id VARCHAR(36) NOT NULL,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	role TEXT NOT NULL,
	hash VARCHAR(64) NOT NULL,
	account_id VARCHAR(36),
	agent_id VARCHAR(36),
	created_at BIGINT NOT NULL,
	expires_at BIGINT,
	last_used_at BIGINT,
	revoked_at BIGINT, user_id VARCHAR(36),
	CONSTRAINT pk_tokens PRIMARY KEY (id),
	CONSTRAINT fk_tokens_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
	CONSTRAINT fk_tokens_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id),
	CONSTRAINT uq_tokens_hash UNIQUE (hash)
);
CREATE TABLE users (
	id VARCHAR(36) NOT NULL,
	email TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	administrator BOOLEAN NOT NULL,
	disabled BOOLEAN NOT NULL,
	generation INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	CONSTRAINT pk_users PRIMARY KEY (id),
	CONSTRAINT uq_users_email UNIQUE (email)
);
CREATE TABLE workflows (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(36) NOT NULL,
	name TEXT NOT NULL,
	source TEXT NOT NULL,
	path TEXT,
	definition JSON,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	CONSTRAINT pk_workflows PRIMARY KEY (id),
	CONSTRAINT fk_workflows_project_id FOREIGN KEY(project_id) REFERENCES projects (id),
	CONSTRAINT uq_workflows_project_id_path UNIQUE (project_id, path)
);
DELETE FROM "sqlite_sequence";
CREATE INDEX ix_accounts_name_created_at ON accounts (name, created_at);
CREATE INDEX ix_agents_account_id_created_at ON agents (account_id, created_at);
CREATE INDEX ix_agents_created_at ON agents (created_at);
CREATE INDEX ix_artifacts_sha256 ON artifacts (sha256);
CREATE INDEX ix_attempts_given_with ON attempts (given_with) WHERE state = 'running';
CREATE INDEX ix_attempts_log_of ON attempts (log_of) WHERE log_of IS NOT NULL;
CREATE INDEX ix_audit_log_account ON audit_log (account_id, ordinal);
CREATE INDEX ix_audit_log_account_action ON audit_log (account_id, action, ordinal);
CREATE INDEX ix_audit_log_action ON audit_log (action, ordinal);
CREATE INDEX ix_audit_log_project ON audit_log (project_id, ordinal);
CREATE INDEX ix_audit_log_project_action ON audit_log (project_id, action, ordinal);
CREATE INDEX ix_build_images_found ON build_images (reference, found_at);
CREATE INDEX ix_build_listeners_project_id ON build_listeners (project_id);
CREATE INDEX ix_build_listeners_upstream ON build_listeners (account_id, upstream);
CREATE INDEX ix_builds_account ON builds (account_id, ordinal);
CREATE INDEX ix_builds_account_number ON builds (account_id, number, ordinal);
CREATE INDEX ix_builds_account_state ON builds (account_id, state, ordinal);
CREATE INDEX ix_builds_account_state_number ON builds (account_id, state, number, ordinal);
CREATE INDEX ix_builds_account_state_updated ON builds (account_id, state, updated_at, ordinal);
CREATE INDEX ix_builds_account_updated ON builds (account_id, updated_at, ordinal);
CREATE INDEX ix_builds_built_module ON builds (project_id, ordinal) WHERE state = 'succeeded' AND module IS NOT NULL;
CREATE INDEX ix_builds_commit ON builds (project_id, commit_hash);
CREATE INDEX ix_builds_concurrency_group ON builds (project_id, concurrency_group) WHERE state IN ('queued', 'running') AND concurrency_group IS NOT NULL;
CREATE INDEX ix_builds_deadline ON builds (deadline) WHERE state = 'running' AND deadline IS NOT NULL;
CREATE INDEX ix_builds_keeps ON builds (project_id) WHERE keeps IS NOT NULL;
CREATE INDEX ix_builds_project ON builds (project_id, ordinal);
CREATE INDEX ix_builds_project_branch ON builds (project_id, branch, ordinal, state);
CREATE INDEX ix_builds_project_state ON builds (project_id, state, ordinal);
CREATE INDEX ix_builds_project_state_updated ON builds (project_id, state, updated_at, ordinal);
CREATE INDEX ix_builds_project_updated ON builds (project_id, updated_at, ordinal, branch, state);
CREATE INDEX ix_builds_retry_of ON builds (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX ix_builds_state ON builds (state, ordinal);
CREATE INDEX ix_builds_workflow_id_finished_at ON builds (workflow_id, finished_at);
CREATE INDEX ix_deliveries_listed ON deliveries (project_id, received_at, id);
CREATE INDEX ix_deliveries_project ON deliveries (project_id, ordinal);
CREATE INDEX ix_deliveries_waiting ON deliveries (next_try_at) WHERE state = 'received';
CREATE INDEX ix_deployments_account_id_agent_name ON deployments (account_id, agent_name);
CREATE INDEX ix_deployments_account_id_created_at ON deployments (account_id, created_at);
CREATE INDEX ix_deployments_created_at ON deployments (created_at);
CREATE INDEX ix_followings_due_at ON followings (due_at);
CREATE INDEX ix_followings_project_id ON followings (project_id);
CREATE INDEX ix_former_slugs_project_id ON former_slugs (project_id);
CREATE INDEX ix_image_builds_account_id_created_at ON image_builds (account_id, created_at);
CREATE INDEX ix_image_builds_created_at ON image_builds (created_at);
CREATE INDEX ix_images_public ON images (slug) WHERE public = 1;
CREATE INDEX ix_images_slug ON images (slug);
CREATE INDEX ix_keyed_requests_created_at ON keyed_requests (created_at);
CREATE INDEX ix_memberships_account_id ON memberships (account_id);
CREATE INDEX ix_modules_name ON modules (name);
CREATE INDEX ix_outbox_project_id ON outbox (project_id, id);
CREATE INDEX ix_outbox_stream ON outbox (recipient_id, stream, build_number, id);
CREATE INDEX ix_outbox_waiting ON outbox (next_try_at, id) WHERE state = 'waiting';
CREATE INDEX ix_projects_account_id_created_at ON projects (account_id, created_at, id);
CREATE INDEX ix_recipients_project_id ON recipients (project_id);
CREATE INDEX ix_schedules_next_at ON schedules (next_at);
CREATE INDEX ix_schedules_project_id ON schedules (project_id);
CREATE INDEX ix_step_inputs_files ON step_inputs (project_id, files);
CREATE INDEX ix_step_inputs_key ON step_inputs (project_id, "key", scope, build_number) WHERE epoch IS NOT NULL;
CREATE INDEX ix_step_inputs_name ON step_inputs (project_id, workflow, name, build_number) WHERE epoch IS NOT NULL;
CREATE INDEX ix_step_results_build_id ON step_results (build_id);
CREATE INDEX ix_step_results_inputs ON step_results (project_id, inputs);
CREATE INDEX ix_step_results_series ON step_results (project_id, series, branch, build_number);
CREATE INDEX ix_step_results_tests_id ON step_results (tests_id);
CREATE INDEX ix_steps_build_id_position ON steps (build_id, position);
CREATE INDEX ix_steps_concurrency_group ON steps (account_id, concurrency_group, state, ready_at, position) WHERE concurrency_group IS NOT NULL AND state IN ('in-line', 'ready', 'offered', 'running');
CREATE INDEX ix_steps_handed_out ON steps (project_id) WHERE state IN ('offered', 'running');
CREATE INDEX ix_steps_images ON steps (build_id) WHERE images IS NOT NULL;
CREATE INDEX ix_steps_queue ON steps (queue_class, project_id, ready_at, position) WHERE state = 'ready';
CREATE INDEX ix_steps_queue_until ON steps (queue_until) WHERE state IN ('ready', 'waiting', 'delayed');
CREATE INDEX ix_steps_resolving ON steps (build_id) WHERE state = 'resolving';
CREATE INDEX ix_steps_waiting ON steps (project_id) WHERE state IN ('blocked', 'resolving', 'waiting', 'in-line', 'ready', 'delayed');
CREATE INDEX ix_stored_packs_goes_at ON stored_packs (goes_at);
CREATE INDEX ix_stored_packs_project_id ON stored_packs (project_id);
CREATE INDEX ix_test_names_name ON test_names (project_id, name);
CREATE INDEX ix_test_results_failed ON test_results (tests_id, position) WHERE result = 'failed';
CREATE INDEX ix_test_results_flaky ON test_results (tests_id, position) WHERE flaky;
CREATE INDEX ix_test_results_test_key ON test_results (test_key, tests_id);
CREATE INDEX ix_tokens_shown ON tokens (created_at) WHERE revoked_at IS NULL AND kind <> 'session';
CREATE INDEX ix_tokens_shown_account ON tokens (account_id, created_at) WHERE revoked_at IS NULL AND kind <> 'session';
CREATE INDEX ix_workflows_project_id_created_at ON workflows (project_id, created_at, id);
CREATE UNIQUE INDEX ix_audit_log_ordinal ON audit_log (ordinal);
CREATE UNIQUE INDEX ix_builds_ordinal ON builds (ordinal);
CREATE UNIQUE INDEX ix_deliveries_ordinal ON deliveries (ordinal);
COMMIT;
