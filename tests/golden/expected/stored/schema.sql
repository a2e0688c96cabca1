CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE artifacts (
	id INTEGER NOT NULL, 
	kind VARCHAR(24) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	path TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	parent_id INTEGER, 
	job_id INTEGER, 
	data_hash VARCHAR(64), 
	config JSON NOT NULL, 
	metrics JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_artifacts PRIMARY KEY (id), 
	CONSTRAINT fk_artifacts_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT fk_artifacts_parent_id_artifacts FOREIGN KEY(parent_id) REFERENCES artifacts (id), 
	CONSTRAINT ck_artifacts_artifactkind CHECK (kind IN ('checkpoint', 'reward_model', 'policy', 'judge', 'dataset_snapshot'))
);
CREATE TABLE campaigns (
	id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	kind VARCHAR(24) NOT NULL, 
	k INTEGER NOT NULL, 
	instructions TEXT NOT NULL, 
	rubric BOOLEAN NOT NULL, 
	closed BOOLEAN NOT NULL, 
	seed INTEGER NOT NULL, 
	judge_id INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_campaigns PRIMARY KEY (id), 
	CONSTRAINT ck_campaigns_k_positive CHECK (k >= 1), 
	CONSTRAINT fk_campaigns_judge_id_raters FOREIGN KEY(judge_id) REFERENCES raters (id), 
	CONSTRAINT uq_campaigns_name UNIQUE (name), 
	CONSTRAINT ck_campaigns_campaignkind CHECK (kind IN ('compare', 'validate'))
);
CREATE TABLE "candidates" (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	run_prompt_id INTEGER NOT NULL, 
	slot INTEGER NOT NULL, 
	generator VARCHAR(120) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	recipe JSON NOT NULL, 
	call_id VARCHAR(32) NOT NULL, 
	text TEXT NOT NULL, 
	fault VARCHAR(40), 
	greeting_id INTEGER, 
	twice BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_candidates PRIMARY KEY (id), 
	CONSTRAINT uq_candidates_run_prompt_id_slot UNIQUE (run_prompt_id, slot), 
	CONSTRAINT fk_candidates_run_id_pair_runs FOREIGN KEY(run_id) REFERENCES pair_runs (id), 
	CONSTRAINT fk_candidates_greeting_id_greetings FOREIGN KEY(greeting_id) REFERENCES greetings (id), 
	CONSTRAINT fk_candidates_run_prompt_id_run_prompts FOREIGN KEY(run_prompt_id) REFERENCES run_prompts (id)
);
CREATE TABLE click_counts (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	greeting_id INTEGER NOT NULL, 
	clicks INTEGER NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_click_counts PRIMARY KEY (id), 
	CONSTRAINT ck_click_counts_clicks_not_negative CHECK (clicks >= 0), 
	CONSTRAINT fk_click_counts_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_click_counts_greeting_id_greetings FOREIGN KEY(greeting_id) REFERENCES greetings (id), 
	CONSTRAINT uq_click_counts_dataset_id_greeting_id UNIQUE (dataset_id, greeting_id)
);
CREATE TABLE comparisons (
	id INTEGER NOT NULL, 
	rater_id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	left_id INTEGER NOT NULL, 
	right_id INTEGER NOT NULL, 
	outcome VARCHAR(24) NOT NULL, 
	reasons JSON NOT NULL, 
	seconds FLOAT, 
	revision INTEGER NOT NULL, 
	supersedes_id INTEGER, 
	request_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_comparisons PRIMARY KEY (id), 
	CONSTRAINT ck_comparisons_different CHECK (left_id <> right_id), 
	CONSTRAINT fk_comparisons_item_id_items FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT fk_comparisons_left_id_greetings FOREIGN KEY(left_id) REFERENCES greetings (id), 
	CONSTRAINT fk_comparisons_rater_id_raters FOREIGN KEY(rater_id) REFERENCES raters (id), 
	CONSTRAINT fk_comparisons_right_id_greetings FOREIGN KEY(right_id) REFERENCES greetings (id), 
	CONSTRAINT fk_comparisons_supersedes_id_comparisons FOREIGN KEY(supersedes_id) REFERENCES comparisons (id), 
	CONSTRAINT uq_comparisons_rater_id_item_id_revision UNIQUE (rater_id, item_id, revision), 
	CONSTRAINT uq_comparisons_request_id UNIQUE (request_id), 
	CONSTRAINT uq_comparisons_supersedes_id UNIQUE (supersedes_id), 
	CONSTRAINT ck_comparisons_outcome CHECK (outcome IN ('a', 'b', 'both_good', 'both_bad', 'skip', 'withdrawn'))
);
CREATE TABLE dataset_entries (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	greeting_id INTEGER, import_id INTEGER, 
	CONSTRAINT pk_dataset_entries PRIMARY KEY (id), 
	CONSTRAINT fk_dataset_entries_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_dataset_entries_greeting_id_greetings FOREIGN KEY(greeting_id) REFERENCES greetings (id), 
	CONSTRAINT fk_dataset_entries_prompt_id_prompts FOREIGN KEY(prompt_id) REFERENCES prompts (id), 
	CONSTRAINT uq_dataset_entries_dataset_id_prompt_id_greeting_id UNIQUE (dataset_id, prompt_id, greeting_id)
);
CREATE TABLE datasets (
	id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	created_at DATETIME NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT uq_datasets_name UNIQUE (name)
);
CREATE TABLE endpoints (
	id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	base_url VARCHAR(500) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	price_in FLOAT NOT NULL, 
	price_out FLOAT NOT NULL, 
	concurrency INTEGER NOT NULL, 
	timeout_s FLOAT NOT NULL, 
	supports_schema VARCHAR(8) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_endpoints PRIMARY KEY (id), 
	CONSTRAINT ck_endpoints_concurrency CHECK (concurrency >= 1), 
	CONSTRAINT uq_endpoints_name UNIQUE (name)
);
CREATE TABLE greeting_origins (
	id INTEGER NOT NULL, 
	greeting_id INTEGER NOT NULL, 
	generator VARCHAR(120) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_greeting_origins PRIMARY KEY (id), 
	CONSTRAINT fk_greeting_origins_greeting_id_greetings FOREIGN KEY(greeting_id) REFERENCES greetings (id), 
	CONSTRAINT uq_greeting_origins_greeting_id_generator_model UNIQUE (greeting_id, generator, model)
);
CREATE TABLE greetings (
	id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	text_hash VARCHAR(64) NOT NULL, 
	source VARCHAR(24) NOT NULL, 
	created_at DATETIME NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_greetings PRIMARY KEY (id), 
	CONSTRAINT fk_greetings_prompt_id_prompts FOREIGN KEY(prompt_id) REFERENCES prompts (id), 
	CONSTRAINT uq_greetings_prompt_id_text_hash UNIQUE (prompt_id, text_hash), 
	CONSTRAINT ck_greetings_source CHECK (source IN ('human', 'model', 'import'))
);
CREATE TABLE import_changes (
	id INTEGER NOT NULL, 
	import_id INTEGER NOT NULL, 
	"values" JSON NOT NULL, 
	CONSTRAINT pk_import_changes PRIMARY KEY (id), 
	CONSTRAINT fk_import_changes_import_id_imports FOREIGN KEY(import_id) REFERENCES imports (id)
);
CREATE TABLE imports (
	id INTEGER NOT NULL, 
	dataset VARCHAR(120) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	process_start VARCHAR(80) NOT NULL, 
	beat_at DATETIME NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_imports PRIMARY KEY (id)
);
CREATE TABLE items (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	greeting_a_id INTEGER NOT NULL, 
	greeting_b_id INTEGER, 
	CONSTRAINT pk_items PRIMARY KEY (id), 
	CONSTRAINT fk_items_campaign_id_campaigns FOREIGN KEY(campaign_id) REFERENCES campaigns (id), 
	CONSTRAINT fk_items_greeting_a_id_greetings FOREIGN KEY(greeting_a_id) REFERENCES greetings (id), 
	CONSTRAINT fk_items_greeting_b_id_greetings FOREIGN KEY(greeting_b_id) REFERENCES greetings (id), 
	CONSTRAINT fk_items_prompt_id_prompts FOREIGN KEY(prompt_id) REFERENCES prompts (id), 
	CONSTRAINT uq_items_campaign_id_greeting_a_id_greeting_b_id UNIQUE (campaign_id, greeting_a_id, greeting_b_id), 
	CONSTRAINT uq_items_campaign_id_position UNIQUE (campaign_id, position)
);
CREATE TABLE job_events (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	kind VARCHAR(24) NOT NULL, 
	step INTEGER, 
	data JSON NOT NULL, 
	CONSTRAINT pk_job_events PRIMARY KEY (id), 
	CONSTRAINT fk_job_events_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT ck_job_events_eventkind CHECK (kind IN ('metric', 'log', 'sample', 'state'))
);
CREATE TABLE "jobs" (
	id INTEGER NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	config JSON NOT NULL, 
	status VARCHAR(24) NOT NULL, 
	priority INTEGER NOT NULL, 
	slots INTEGER NOT NULL, 
	devices JSON NOT NULL, 
	parent_id INTEGER, 
	attempt INTEGER NOT NULL, 
	worker VARCHAR(120), 
	host VARCHAR(255), 
	pid INTEGER, 
	process_start VARCHAR(64), 
	heartbeat_at DATETIME, 
	progress FLOAT NOT NULL, 
	progress_text TEXT NOT NULL, 
	error_en TEXT, 
	error_zh TEXT, 
	log_path TEXT, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	after_id INTEGER, progress_data JSON, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT ck_jobs_slots_not_negative CHECK (slots >= 0), 
	CONSTRAINT ck_jobs_progress_is_a_share CHECK (progress >= 0 AND progress <= 1), 
	CONSTRAINT fk_jobs_parent_id_jobs FOREIGN KEY(parent_id) REFERENCES jobs (id), 
	CONSTRAINT ck_jobs_jobstatus CHECK (status IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'cancelled', 'failed', 'succeeded', 'lost')), 
	CONSTRAINT fk_jobs_after_id_jobs FOREIGN KEY(after_id) REFERENCES jobs (id)
);
CREATE TABLE leases (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	rater_id INTEGER NOT NULL, 
	slot INTEGER NOT NULL, 
	done BOOLEAN NOT NULL, 
	expires_at DATETIME NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (id), 
	CONSTRAINT fk_leases_campaign_id_campaigns FOREIGN KEY(campaign_id) REFERENCES campaigns (id), 
	CONSTRAINT fk_leases_item_id_items FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT fk_leases_rater_id_raters FOREIGN KEY(rater_id) REFERENCES raters (id), 
	CONSTRAINT uq_leases_item_id_rater_id UNIQUE (item_id, rater_id), 
	CONSTRAINT uq_leases_item_id_slot UNIQUE (item_id, slot)
);
CREATE TABLE llm_calls (
	id INTEGER NOT NULL, 
	call_id VARCHAR(32) NOT NULL, 
	request_hash VARCHAR(64) NOT NULL, 
	scope VARCHAR(120) NOT NULL, 
	endpoint VARCHAR(120) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	messages JSON NOT NULL, 
	params JSON NOT NULL, 
	reply TEXT, 
	finish_reason VARCHAR(40), 
	tokens_in INTEGER NOT NULL, 
	tokens_out INTEGER NOT NULL, 
	tokens_estimated BOOLEAN NOT NULL, 
	cost FLOAT NOT NULL, 
	latency_s FLOAT NOT NULL, 
	attempt INTEGER NOT NULL, 
	error VARCHAR(24), 
	error_detail TEXT, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_llm_calls PRIMARY KEY (id), 
	CONSTRAINT uq_llm_calls_call_id UNIQUE (call_id)
);
CREATE TABLE pair_decisions (
	id INTEGER NOT NULL, 
	pair_id INTEGER NOT NULL, 
	state VARCHAR(24) NOT NULL, 
	decided_by VARCHAR(24) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	note TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_pair_decisions PRIMARY KEY (id), 
	CONSTRAINT fk_pair_decisions_pair_id_run_pairs FOREIGN KEY(pair_id) REFERENCES run_pairs (id), 
	CONSTRAINT ck_pair_decisions_pairstate CHECK (state IN ('proposed', 'checking', 'review', 'accepted', 'flipped', 'discarded')), 
	CONSTRAINT ck_pair_decisions_decider CHECK (decided_by IN ('panel', 'people', 'person'))
);
CREATE TABLE "pair_runs" (
	id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	config JSON NOT NULL, 
	stage VARCHAR(24) NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	judge_id INTEGER, 
	job_id INTEGER, 
	prompts JSON NOT NULL, 
	spent JSON NOT NULL, 
	report JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	second_judge_id INTEGER, 
	CONSTRAINT pk_pair_runs PRIMARY KEY (id), 
	CONSTRAINT uq_pair_runs_name UNIQUE (name), 
	CONSTRAINT fk_pair_runs_judge_id_raters FOREIGN KEY(judge_id) REFERENCES raters (id), 
	CONSTRAINT fk_pair_runs_second_judge_id_raters FOREIGN KEY(second_judge_id) REFERENCES raters (id), 
	CONSTRAINT ck_pair_runs_stage CHECK (stage IN ('filtering', 'writing', 'judging', 'pairing', 'done')), 
	CONSTRAINT fk_pair_runs_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_pair_runs_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id)
);
CREATE TABLE play_cards (
	id INTEGER NOT NULL, 
	round_id INTEGER NOT NULL, 
	generator VARCHAR(120) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	place INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	change VARCHAR(20) NOT NULL, 
	state VARCHAR(24) NOT NULL, 
	text TEXT NOT NULL, 
	fault VARCHAR(24) NOT NULL, 
	note_en TEXT NOT NULL, 
	note_zh TEXT NOT NULL, 
	seed INTEGER NOT NULL, 
	sampling JSON NOT NULL, 
	tries INTEGER NOT NULL, 
	seconds FLOAT, 
	call_id VARCHAR(32) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_play_cards PRIMARY KEY (id), 
	CONSTRAINT fk_play_cards_round_id_play_rounds FOREIGN KEY(round_id) REFERENCES play_rounds (id), 
	CONSTRAINT uq_play_cards_round_id_generator_place_version UNIQUE (round_id, generator, place, version), 
	CONSTRAINT ck_play_cards_cardstate CHECK (state IN ('waiting', 'writing', 'done', 'failed', 'stopped'))
);
CREATE TABLE play_rounds (
	id INTEGER NOT NULL, 
	token VARCHAR(32) NOT NULL, 
	visitor VARCHAR(32) NOT NULL, 
	prompt TEXT NOT NULL, 
	wish JSON NOT NULL, 
	seed INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_play_rounds PRIMARY KEY (id), 
	CONSTRAINT uq_play_rounds_token UNIQUE (token)
);
CREATE TABLE play_signals (
	id INTEGER NOT NULL, 
	card_id INTEGER NOT NULL, 
	visitor VARCHAR(32) NOT NULL, 
	value SMALLINT NOT NULL, 
	request_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_play_signals PRIMARY KEY (id), 
	CONSTRAINT ck_play_signals_value CHECK (value IN (-1, 0, 1)), 
	CONSTRAINT fk_play_signals_card_id_play_cards FOREIGN KEY(card_id) REFERENCES play_cards (id), 
	CONSTRAINT uq_play_signals_request_id UNIQUE (request_id)
);
CREATE TABLE preference_pairs (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	chosen_id INTEGER NOT NULL, 
	rejected_id INTEGER NOT NULL, 
	origin VARCHAR(40) NOT NULL, 
	flaw VARCHAR(40), 
	created_at DATETIME NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_preference_pairs PRIMARY KEY (id), 
	CONSTRAINT ck_preference_pairs_different CHECK (chosen_id <> rejected_id), 
	CONSTRAINT fk_preference_pairs_chosen_id_greetings FOREIGN KEY(chosen_id) REFERENCES greetings (id), 
	CONSTRAINT fk_preference_pairs_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_preference_pairs_prompt_id_prompts FOREIGN KEY(prompt_id) REFERENCES prompts (id), 
	CONSTRAINT fk_preference_pairs_rejected_id_greetings FOREIGN KEY(rejected_id) REFERENCES greetings (id), 
	CONSTRAINT uq_preference_pairs_dataset_id_chosen_id_rejected_id UNIQUE (dataset_id, chosen_id, rejected_id)
);
CREATE TABLE principle_answers (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	phase VARCHAR(24) NOT NULL, 
	number INTEGER NOT NULL, 
	there BOOLEAN NOT NULL, 
	person VARCHAR(120) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_principle_answers PRIMARY KEY (id), 
	CONSTRAINT fk_principle_answers_run_id_principle_runs FOREIGN KEY(run_id) REFERENCES principle_runs (id), 
	CONSTRAINT uq_principle_answers_run_id_round_phase_number UNIQUE (run_id, round, phase, number)
);
CREATE TABLE principle_comparisons (
	id INTEGER NOT NULL, 
	first_id INTEGER NOT NULL, 
	second_id INTEGER NOT NULL, 
	dataset VARCHAR(120) NOT NULL, 
	endpoint VARCHAR(120) NOT NULL, 
	result JSON, 
	job_id INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_principle_comparisons PRIMARY KEY (id), 
	CONSTRAINT fk_principle_comparisons_first_id_principles FOREIGN KEY(first_id) REFERENCES principles (id), 
	CONSTRAINT fk_principle_comparisons_second_id_principles FOREIGN KEY(second_id) REFERENCES principles (id), 
	CONSTRAINT fk_principle_comparisons_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id)
);
CREATE TABLE principle_marks (
	id INTEGER NOT NULL, 
	role VARCHAR(24) NOT NULL, 
	version_id INTEGER NOT NULL, 
	author VARCHAR(120) NOT NULL, 
	reason TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_principle_marks PRIMARY KEY (id), 
	CONSTRAINT fk_principle_marks_version_id_principles FOREIGN KEY(version_id) REFERENCES principles (id), 
	CONSTRAINT ck_principle_marks_role CHECK (role IN ('S_D', 'S_G'))
);
CREATE TABLE principle_outcomes (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	accepted BOOLEAN NOT NULL, 
	why VARCHAR(24) NOT NULL, 
	facts JSON NOT NULL, 
	score FLOAT, 
	low FLOAT, 
	high FLOAT, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_principle_outcomes PRIMARY KEY (id), 
	CONSTRAINT fk_principle_outcomes_run_id_principle_runs FOREIGN KEY(run_id) REFERENCES principle_runs (id), 
	CONSTRAINT fk_principle_outcomes_version_id_principles FOREIGN KEY(version_id) REFERENCES principles (id), 
	CONSTRAINT uq_principle_outcomes_run_id_version_id UNIQUE (run_id, version_id)
);
CREATE TABLE "principle_runs" (
	id INTEGER NOT NULL, 
	dataset VARCHAR(120) NOT NULL, 
	settings JSON NOT NULL, 
	endpoints JSON NOT NULL, 
	caps JSON NOT NULL, 
	labels JSON NOT NULL, 
	labels_hash VARCHAR(16) NOT NULL, 
	detector_id INTEGER NOT NULL, 
	generator_id INTEGER NOT NULL, 
	state VARCHAR(24) NOT NULL, 
	error_en TEXT, 
	error_zh TEXT, 
	job_id INTEGER, 
	calls INTEGER NOT NULL, 
	tokens INTEGER NOT NULL, 
	cost FLOAT NOT NULL, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, phase VARCHAR(40), message TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_principle_runs PRIMARY KEY (id), 
	CONSTRAINT fk_principle_runs_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT ck_principle_runs_runstate CHECK (state IN ('queued', 'running', 'paused', 'waiting', 'budget', 'failed', 'done'))
);
CREATE TABLE principle_steps (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	phase VARCHAR(24) NOT NULL, 
	data JSON NOT NULL, 
	first_call INTEGER NOT NULL, 
	last_call INTEGER NOT NULL, 
	calls INTEGER NOT NULL, 
	cost FLOAT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_principle_steps PRIMARY KEY (id), 
	CONSTRAINT fk_principle_steps_run_id_principle_runs FOREIGN KEY(run_id) REFERENCES principle_runs (id), 
	CONSTRAINT uq_principle_steps_run_id_round_phase UNIQUE (run_id, round, phase)
);
CREATE TABLE principles (
	id INTEGER NOT NULL, 
	role VARCHAR(24) NOT NULL, 
	rules JSON NOT NULL, 
	rules_hash VARCHAR(16) NOT NULL, 
	parent_id INTEGER, 
	run_id INTEGER, 
	round INTEGER, 
	proposer VARCHAR(24) NOT NULL, 
	author VARCHAR(120) NOT NULL, 
	note TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_principles PRIMARY KEY (id), 
	CONSTRAINT fk_principles_parent_id_principles FOREIGN KEY(parent_id) REFERENCES principles (id), 
	CONSTRAINT fk_principles_run_id_principle_runs FOREIGN KEY(run_id) REFERENCES principle_runs (id), 
	CONSTRAINT ck_principles_role CHECK (role IN ('S_D', 'S_G')), 
	CONSTRAINT ck_principles_proposer CHECK (proposer IN ('start', 'optimiser', 'gepa', 'rewrite', 'person'))
);
CREATE TABLE prompts (
	id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	text_hash VARCHAR(64) NOT NULL, 
	occasion VARCHAR(40), 
	recipient VARCHAR(40), 
	style VARCHAR(40), 
	split VARCHAR(24) NOT NULL, 
	created_at DATETIME NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_prompts PRIMARY KEY (id), 
	CONSTRAINT uq_prompts_text_hash UNIQUE (text_hash), 
	CONSTRAINT ck_prompts_split CHECK (split IN ('train', 'validation', 'test'))
);
CREATE TABLE raters (
	id INTEGER NOT NULL, 
	kind VARCHAR(24) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	config JSON NOT NULL, 
	created_at DATETIME NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_raters PRIMARY KEY (id), 
	CONSTRAINT uq_raters_kind_name_version UNIQUE (kind, name, version), 
	CONSTRAINT ck_raters_raterkind CHECK (kind IN ('human', 'dataset', 'judge'))
);
CREATE TABLE reviews (
	id INTEGER NOT NULL, 
	rater_id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	verdict_id INTEGER NOT NULL, 
	agrees BOOLEAN, 
	reason TEXT NOT NULL, 
	withdrawn BOOLEAN NOT NULL, 
	revision INTEGER NOT NULL, 
	supersedes_id INTEGER, 
	request_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_reviews PRIMARY KEY (id), 
	CONSTRAINT fk_reviews_item_id_items FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT fk_reviews_rater_id_raters FOREIGN KEY(rater_id) REFERENCES raters (id), 
	CONSTRAINT fk_reviews_supersedes_id_reviews FOREIGN KEY(supersedes_id) REFERENCES reviews (id), 
	CONSTRAINT fk_reviews_verdict_id_verdicts FOREIGN KEY(verdict_id) REFERENCES verdicts (id), 
	CONSTRAINT uq_reviews_rater_id_item_id_revision UNIQUE (rater_id, item_id, revision), 
	CONSTRAINT uq_reviews_request_id UNIQUE (request_id), 
	CONSTRAINT uq_reviews_supersedes_id UNIQUE (supersedes_id)
);
CREATE TABLE run_pairs (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	run_prompt_id INTEGER NOT NULL, 
	chosen_id INTEGER NOT NULL, 
	rejected_id INTEGER NOT NULL, 
	difference FLOAT NOT NULL, 
	state VARCHAR(24) NOT NULL, 
	campaign_id INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_run_pairs PRIMARY KEY (id), 
	CONSTRAINT ck_run_pairs_different CHECK (chosen_id <> rejected_id), 
	CONSTRAINT fk_run_pairs_campaign_id_campaigns FOREIGN KEY(campaign_id) REFERENCES campaigns (id), 
	CONSTRAINT fk_run_pairs_chosen_id_candidates FOREIGN KEY(chosen_id) REFERENCES candidates (id), 
	CONSTRAINT fk_run_pairs_rejected_id_candidates FOREIGN KEY(rejected_id) REFERENCES candidates (id), 
	CONSTRAINT fk_run_pairs_run_id_pair_runs FOREIGN KEY(run_id) REFERENCES pair_runs (id), 
	CONSTRAINT fk_run_pairs_run_prompt_id_run_prompts FOREIGN KEY(run_prompt_id) REFERENCES run_prompts (id), 
	CONSTRAINT uq_run_pairs_run_id_chosen_id_rejected_id UNIQUE (run_id, chosen_id, rejected_id), 
	CONSTRAINT ck_run_pairs_pairstate CHECK (state IN ('proposed', 'checking', 'review', 'accepted', 'flipped', 'discarded'))
);
CREATE TABLE run_prompts (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	prompt_id INTEGER, 
	lost VARCHAR(40), 
	exact_chars INTEGER, 
	written BOOLEAN NOT NULL, 
	CONSTRAINT pk_run_prompts PRIMARY KEY (id), 
	CONSTRAINT ck_run_prompts_kept_or_lost CHECK (prompt_id IS NULL OR lost IS NULL), 
	CONSTRAINT fk_run_prompts_prompt_id_prompts FOREIGN KEY(prompt_id) REFERENCES prompts (id), 
	CONSTRAINT fk_run_prompts_run_id_pair_runs FOREIGN KEY(run_id) REFERENCES pair_runs (id), 
	CONSTRAINT uq_run_prompts_run_id_position UNIQUE (run_id, position), 
	CONSTRAINT uq_run_prompts_run_id_prompt_id UNIQUE (run_id, prompt_id)
);
CREATE TABLE verdicts (
	id INTEGER NOT NULL, 
	rater_id INTEGER NOT NULL, 
	greeting_id INTEGER NOT NULL, 
	item_id INTEGER, 
	value FLOAT, 
	scale VARCHAR(24) NOT NULL, 
	reason TEXT NOT NULL, 
	dimensions JSON, 
	withdrawn BOOLEAN NOT NULL, 
	revision INTEGER NOT NULL, 
	supersedes_id INTEGER, 
	request_id VARCHAR(64), 
	created_at DATETIME NOT NULL, import_id INTEGER, 
	CONSTRAINT pk_verdicts PRIMARY KEY (id), 
	CONSTRAINT fk_verdicts_greeting_id_greetings FOREIGN KEY(greeting_id) REFERENCES greetings (id), 
	CONSTRAINT fk_verdicts_item_id_items FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT fk_verdicts_rater_id_raters FOREIGN KEY(rater_id) REFERENCES raters (id), 
	CONSTRAINT fk_verdicts_supersedes_id_verdicts FOREIGN KEY(supersedes_id) REFERENCES verdicts (id), 
	CONSTRAINT uq_verdicts_rater_id_item_id_revision UNIQUE (rater_id, item_id, revision), 
	CONSTRAINT uq_verdicts_request_id UNIQUE (request_id), 
	CONSTRAINT uq_verdicts_supersedes_id UNIQUE (supersedes_id), 
	CONSTRAINT ck_verdicts_scale CHECK (scale IN ('binary', 'rubric', 'score'))
);
CREATE TABLE workers (
	id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	home TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	process_start VARCHAR(64) NOT NULL, 
	devices JSON NOT NULL, 
	parent_pid INTEGER, 
	parent_start VARCHAR(64), 
	heartbeat_at DATETIME NOT NULL, 
	started_at DATETIME NOT NULL, device_memory JSON, 
	CONSTRAINT pk_workers PRIMARY KEY (id), 
	CONSTRAINT uq_workers_name UNIQUE (name)
);
CREATE INDEX ix_artifacts_job_id ON artifacts (job_id);
CREATE INDEX ix_artifacts_kind ON artifacts (kind);
CREATE INDEX ix_candidates_greeting_id ON candidates (greeting_id);
CREATE INDEX ix_candidates_run_id ON candidates (run_id);
CREATE INDEX ix_click_counts_greeting_id ON click_counts (greeting_id);
CREATE INDEX ix_comparisons_item_id ON comparisons (item_id);
CREATE INDEX ix_dataset_entries_greeting_id ON dataset_entries (greeting_id);
CREATE INDEX ix_greeting_origins_generator ON greeting_origins (generator);
CREATE INDEX ix_greetings_text_hash ON greetings (text_hash);
CREATE INDEX ix_import_changes_import_id ON import_changes (import_id);
CREATE INDEX ix_items_greeting_a_id ON items (greeting_a_id);
CREATE INDEX ix_items_greeting_b_id ON items (greeting_b_id);
CREATE INDEX ix_job_events_job_id_id ON job_events (job_id, id);
CREATE INDEX ix_jobs_after_id ON jobs (after_id);
CREATE INDEX ix_jobs_kind ON jobs (kind);
CREATE INDEX ix_jobs_parent_id ON jobs (parent_id);
CREATE INDEX ix_jobs_queue ON jobs (status, priority, id);
CREATE INDEX ix_leases_campaign_id_done_rater_id ON leases (campaign_id, done, rater_id);
CREATE INDEX ix_llm_calls_answered ON llm_calls (request_hash) WHERE error IS NULL;
CREATE INDEX ix_llm_calls_scope_created_at ON llm_calls (scope, created_at);
CREATE INDEX ix_pair_decisions_pair_id ON pair_decisions (pair_id);
CREATE INDEX ix_pair_runs_job_id ON pair_runs (job_id);
CREATE INDEX ix_play_cards_generator ON play_cards (generator);
CREATE INDEX ix_play_rounds_visitor ON play_rounds (visitor);
CREATE INDEX ix_play_signals_card_id ON play_signals (card_id);
CREATE INDEX ix_preference_pairs_prompt_id ON preference_pairs (prompt_id);
CREATE INDEX ix_principle_outcomes_version_id ON principle_outcomes (version_id);
CREATE INDEX ix_principle_runs_labels_hash ON principle_runs (labels_hash);
CREATE INDEX ix_principles_parent_id ON principles (parent_id);
CREATE INDEX ix_principles_rules_hash ON principles (rules_hash);
CREATE INDEX ix_principles_run_id ON principles (run_id);
CREATE INDEX ix_prompts_split ON prompts (split);
CREATE INDEX ix_reviews_item_id ON reviews (item_id);
CREATE INDEX ix_run_pairs_campaign_id ON run_pairs (campaign_id);
CREATE INDEX ix_run_pairs_run_id_state ON run_pairs (run_id, state);
CREATE INDEX ix_run_pairs_run_prompt_id ON run_pairs (run_prompt_id);
CREATE INDEX ix_run_prompts_prompt_id ON run_prompts (prompt_id);
CREATE INDEX ix_run_prompts_run_id_written ON run_prompts (run_id, written, id);
CREATE INDEX ix_verdicts_greeting_id ON verdicts (greeting_id);
CREATE INDEX ix_verdicts_item_id ON verdicts (item_id);
CREATE UNIQUE INDEX uq_dataset_entries_prompt_only ON dataset_entries (dataset_id, prompt_id) WHERE greeting_id IS NULL;
CREATE UNIQUE INDEX uq_verdicts_outside_campaigns ON verdicts (rater_id, greeting_id, revision) WHERE item_id IS NULL;
